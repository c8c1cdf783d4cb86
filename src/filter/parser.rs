//! From text to [`Expression`]: the grammar of [the front page](super), and what is refused although
//! the grammar allows it.
//!
//! Each level of the grammar is a function; the parser looks one token ahead and never goes back.

use std::collections::HashMap;

use super::expression::{Constant, Expression, Node, Operator, Search};
use super::lexer::{Keyword, Lexer, Token};
use super::{Dialect, FilterError, position};

/// Longest expression, bytes. (Java has no limit.)
pub const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Deepest nesting of parentheses, signs, NOT and chains of `=`. (In Java the stack overflows.)
pub const MAX_DEPTH: usize = 100;
/// Most texts of one IN. (Java has no limit.)
pub const MAX_IN_ITEMS: usize = 4096;

/// Compiles a text.
///
/// # Errors
/// What is wrong, with line and column.
pub fn compile(text: &str, dialect: Dialect) -> Result<Expression, FilterError> {
    if text.len() > MAX_TEXT_BYTES {
        let what = format!("{} bytes are too long, expected {MAX_TEXT_BYTES} at most", text.len());
        return Err(FilterError::at(text, 0, what));
    }
    let mut lexer = Lexer::new(text, dialect);
    let (next, at) = lexer.next_token()?;
    let mut parser =
        Parser { text, lexer, next, at, nesting: 0, names: Vec::new(), places: HashMap::new() };
    let whole = parser.or()?;
    let root = parser.boolean(whole)?.node;
    let ignored = (parser.next != Token::End).then(|| position(text, parser.at));
    Ok(Expression::new(root, parser.names, ignored))
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    /// The token that is looked at, and the byte at which it begins.
    next: Token<'a>,
    at: usize,
    /// How deep the parser is in parentheses and signs.
    nesting: usize,
    names: Vec<Box<str>>,
    places: HashMap<&'a str, usize>,
}

/// A part that was read.
struct Operand {
    node: Node,
    /// Byte at which it begins.
    at: usize,
    /// Levels of nodes.
    depth: usize,
}

type Parsed = Result<Operand, FilterError>;

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Result<(), FilterError> {
        (self.next, self.at) = self.lexer.next_token()?;
        Ok(())
    }

    /// Goes on if the next token is this one.
    fn accept(&mut self, token: Token<'_>) -> Result<bool, FilterError> {
        let found = self.next == token;
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn accept_word(&mut self, keyword: Keyword) -> Result<bool, FilterError> {
        self.accept(Token::Keyword(keyword))
    }

    fn expect(&mut self, token: Token<'_>) -> Result<(), FilterError> {
        if self.accept(token)? { Ok(()) } else { Err(self.unexpected(&token.to_string())) }
    }

    fn unexpected(&self, expected: &str) -> FilterError {
        let what = match self.next {
            Token::End => format!("the expression ends here, expected {expected}"),
            found => format!("found {found}, expected {expected}"),
        };
        self.error(self.at, what)
    }

    fn error(&self, at: usize, what: impl Into<String>) -> FilterError {
        FilterError::at(self.text, at, what)
    }

    /// A node above others of that depth.
    fn node(&self, at: usize, below: usize, node: Node) -> Parsed {
        if below >= MAX_DEPTH {
            return Err(self.too_deep(at));
        }
        Ok(Operand { node, at, depth: below + 1 })
    }

    fn too_deep(&self, at: usize) -> FilterError {
        self.error(at, format!("nested too deep, expected {MAX_DEPTH} levels at most"))
    }

    fn or(&mut self) -> Parsed {
        self.row(Keyword::Or, Self::and, Node::Or)
    }

    fn and(&mut self) -> Parsed {
        self.row(Keyword::And, Self::equality, Node::And)
    }

    /// One side, or several with a word between them.
    fn row(
        &mut self,
        word: Keyword,
        side: fn(&mut Self) -> Parsed,
        join: fn(Vec<Node>) -> Node,
    ) -> Parsed {
        let first = side(self)?;
        if self.next != Token::Keyword(word) {
            return Ok(first);
        }
        let (at, mut depth) = (first.at, first.depth);
        let mut sides = vec![self.boolean(first)?.node];
        while self.accept_word(word)? {
            let next = side(self)?;
            let next = self.boolean(next)?;
            depth = depth.max(next.depth);
            sides.push(next.node);
        }
        self.node(at, depth, join(sides))
    }

    fn equality(&mut self) -> Parsed {
        let mut left = self.comparison()?;
        loop {
            let operator = match self.next {
                Token::Sign("=") => Operator::Equal,
                Token::Sign("<>") => Operator::NotEqual,
                Token::Keyword(Keyword::Is) => {
                    self.advance()?;
                    let negated = self.accept_word(Keyword::Not)?;
                    self.expect(Token::Keyword(Keyword::Null))?;
                    let node = Node::IsNull { operand: Box::new(left.node), negated };
                    left = self.node(left.at, left.depth, node)?;
                    continue;
                }
                _ => return Ok(left),
            };
            self.advance()?;
            let right = self.comparison()?;
            self.check_equality(&left, &right)?;
            left = self.compare(left, operator, right)?;
        }
    }

    fn comparison(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let operator = match self.next {
                Token::Sign("<") => Operator::Less,
                Token::Sign("<=") => Operator::LessOrEqual,
                Token::Sign(">") => Operator::Greater,
                Token::Sign(">=") => Operator::GreaterOrEqual,
                Token::Keyword(keyword) => match self.range(left, keyword)? {
                    (part, true) => {
                        left = part;
                        continue;
                    }
                    (part, false) => return Ok(part),
                },
                _ => return Ok(left),
            };
            self.check_order(&left)?;
            self.advance()?;
            let right = self.unary()?;
            self.check_order(&right)?;
            left = self.compare(left, operator, right)?;
        }
    }

    fn compare(&self, left: Operand, operator: Operator, right: Operand) -> Parsed {
        let depth = left.depth.max(right.depth);
        let (at, left, right) = (left.at, Box::new(left.node), Box::new(right.node));
        self.node(at, depth, Node::Compare { left, operator, right })
    }

    /// BETWEEN, IN and the searches, each with or without NOT. Gives the operand back, and false,
    /// if the keyword is none of them.
    fn range(
        &mut self,
        operand: Operand,
        keyword: Keyword,
    ) -> Result<(Operand, bool), FilterError> {
        let negated = keyword == Keyword::Not;
        if negated {
            self.advance()?;
        }
        let part = match self.next {
            Token::Keyword(Keyword::Between) => self.between(operand, negated)?,
            Token::Keyword(Keyword::In) => self.one_of(operand, negated)?,
            Token::Keyword(Keyword::Contains) => self.search(operand, Search::Contains, negated)?,
            Token::Keyword(Keyword::StartsWith) => {
                self.search(operand, Search::StartsWith, negated)?
            }
            Token::Keyword(Keyword::EndsWith) => self.search(operand, Search::EndsWith, negated)?,
            _ if negated => return Err(self.unexpected("BETWEEN or IN behind NOT")),
            _ => return Ok((operand, false)),
        };
        Ok((part, true))
    }

    fn between(&mut self, operand: Operand, negated: bool) -> Parsed {
        self.advance()?;
        let low = self.unary()?;
        self.expect(Token::Keyword(Keyword::And))?;
        let high = self.unary()?;
        for part in [&operand, &low, &high] {
            self.check_order(part)?;
        }
        if !negated
            && let (Node::Constant(from), Node::Constant(to)) = (&low.node, &high.node)
            && from.compare_numbers(to).is_some_and(std::cmp::Ordering::is_gt)
        {
            let what = "the lower bound is above the upper one, so that nothing can be between";
            return Err(self.error(low.at, what));
        }
        let depth = operand.depth.max(low.depth).max(high.depth);
        let bounds = Box::new((low.node, high.node));
        let node = Node::Between { operand: Box::new(operand.node), bounds, negated };
        self.node(operand.at, depth, node)
    }

    fn one_of(&mut self, operand: Operand, negated: bool) -> Parsed {
        let Node::Property(place) = operand.node else {
            return Err(self.error(operand.at, "left of IN must stand a property"));
        };
        self.advance()?;
        self.expect(Token::Sign("("))?;
        let mut items = Vec::new();
        loop {
            if items.len() == MAX_IN_ITEMS {
                let what = format!("too many texts, expected {MAX_IN_ITEMS} at most");
                return Err(self.error(self.at, what));
            }
            items.push(self.text_literal()?);
            if !self.accept(Token::Sign(","))? {
                break;
            }
        }
        self.expect(Token::Sign(")"))?;
        let node = Node::In { place, items: items.into(), negated };
        self.node(operand.at, operand.depth, node)
    }

    fn search(&mut self, operand: Operand, search: Search, negated: bool) -> Parsed {
        self.advance()?;
        let text = self.text_literal()?;
        let node = Node::Search { operand: Box::new(operand.node), search, text, negated };
        self.node(operand.at, operand.depth, node)
    }

    fn text_literal(&mut self) -> Result<Box<str>, FilterError> {
        let Token::Text(raw) = self.next else {
            return Err(self.unexpected("a text between single quotes"));
        };
        self.advance()?;
        Ok(raw.replace("''", "'").into())
    }

    /// Signs, NOT, and what they stand before. All nesting goes through here.
    fn unary(&mut self) -> Parsed {
        if self.nesting == MAX_DEPTH {
            return Err(self.too_deep(self.at));
        }
        self.nesting += 1;
        let at = self.at;
        let part = match self.next {
            Token::Sign("+") => {
                self.advance()?;
                self.unary()?
            }
            Token::Sign("-") => {
                self.advance()?;
                let operand = self.unary()?;
                self.node(at, operand.depth, Node::Negate(Box::new(operand.node)))?
            }
            Token::Keyword(Keyword::Not) => {
                self.advance()?;
                let operand = self.unary()?;
                let operand = self.boolean(operand)?;
                self.node(at, operand.depth, Node::Not(Box::new(operand.node)))?
            }
            _ => self.primary()?,
        };
        self.nesting -= 1;
        Ok(part)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at;
        let constant = match self.next {
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.or()?;
                self.expect(Token::Sign(")"))?;
                return Ok(inner);
            }
            Token::Name(name) => {
                let place = self.place(name);
                self.advance()?;
                return self.node(at, 0, Node::Property(place));
            }
            Token::Text(_) => {
                let text = self.text_literal()?;
                return self.node(at, 0, Node::Constant(Constant::Text(text)));
            }
            Token::Integer(digits) => self.integer(digits)?,
            Token::Float(digits) => self.float(digits)?,
            Token::Keyword(Keyword::True) => Constant::Bool(true),
            Token::Keyword(Keyword::False) => Constant::Bool(false),
            Token::Keyword(Keyword::Null) => Constant::Null,
            _ => return Err(self.unexpected("a property, a number, a text or a parenthesis")),
        };
        self.advance()?;
        self.node(at, 0, Node::Constant(constant))
    }

    fn place(&mut self, name: &'a str) -> usize {
        *self.places.entry(name).or_insert_with(|| {
            self.names.push(name.into());
            self.names.len() - 1
        })
    }

    fn integer(&self, digits: &str) -> Result<Constant, FilterError> {
        let value: i64 = digits.parse().map_err(|_| {
            self.error(self.at, format!("{digits:.60} is too large, expected {} at most", i64::MAX))
        })?;
        Ok(i32::try_from(value).map_or(Constant::Long(value), Constant::Int))
    }

    fn float(&self, digits: &str) -> Result<Constant, FilterError> {
        // The token's form is one that Rust reads as Java does.
        match digits.parse::<f64>() {
            Ok(value) if value > 0.0 && value.is_finite() => Ok(Constant::Double(value)),
            _ => Err(self.error(
                self.at,
                format!(
                    "{digits:.60} is out of range, expected 4.9E-324 to 1.7976931348623157E308; \
                     zero is written 0"
                ),
            )),
        }
    }

    /// A part where a boolean belongs: a bare property is taken for one.
    fn boolean(&self, part: Operand) -> Parsed {
        if part.node.is_boolean() {
            return Ok(part);
        }
        if let Node::Property(place) = part.node {
            return Ok(Operand { node: Node::Cast(place), ..part });
        }
        Err(self.error(part.at, "this is neither true nor false, expected a comparison"))
    }

    fn check_order(&self, part: &Operand) -> Result<(), FilterError> {
        let orderly = match &part.node {
            Node::Constant(constant) => constant.is_number(),
            node => !node.is_boolean(),
        };
        if orderly {
            return Ok(());
        }
        Err(self.error(part.at, "this has no order, expected a number or a property"))
    }

    fn check_equality(&self, left: &Operand, right: &Operand) -> Result<(), FilterError> {
        for part in [left, right] {
            if matches!(part.node, Node::Constant(Constant::Null)) {
                let what = "NULL is equal to nothing, expected IS NULL or IS NOT NULL";
                return Err(self.error(part.at, what));
            }
        }
        match (&left.node, &right.node) {
            (Node::Constant(Constant::Bool(_)), Node::Constant(right_literal))
                if !matches!(right_literal, Constant::Bool(_)) =>
            {
                Err(self.error(right.at, "a boolean is compared with this, expected TRUE or FALSE"))
            }
            _ => Ok(()),
        }
    }
}
