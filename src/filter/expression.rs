//! [`Expression`]: a compiled filter, and how it is evaluated over the properties of a message.
//! How a text becomes one is [`parser`](super::parser)'s business.

use std::cmp::Ordering;

use super::number::parse_double;
use crate::common::properties::{self, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};

/// Up to so many different properties are gathered without allocating.
const FEW: usize = 8;

/// Why an evaluation has no result. The message does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluationError {
    /// A property is compared with a number and is none of its kind.
    NotANumber,
    /// A boolean stands left of a property: Java compares only the other way round.
    BooleanOnTheLeft,
}

impl std::fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "a property is not a number of the kind it is compared with",
            Self::BooleanOnTheLeft => "a boolean cannot stand left of a property",
        })
    }
}

impl std::error::Error for EvaluationError {}

/// What an evaluation says: `Some` true or false, `None` unknown.
pub type Truth = Result<Option<bool>, EvaluationError>;

/// A compiled filter.
///
/// * Each property has a place, however often it is named; an evaluation looks through the
///   properties of a message once and puts the values at their places.
/// * The tree is at most [`MAX_DEPTH`](super::MAX_DEPTH) deep: walking and dropping it needs
///   bounded stack. Rows of AND and OR are one node each.
#[derive(Debug)]
pub struct Expression {
    root: Node,
    /// The properties by place.
    names: Box<[Box<str>]>,
    /// Places in the order of names, to find one of many.
    by_name: Box<[usize]>,
    /// Where the text begins that was not read: line and column.
    ignored: Option<(usize, usize)>,
}

impl Expression {
    pub(super) fn new(root: Node, names: Vec<Box<str>>, ignored: Option<(usize, usize)>) -> Self {
        let mut by_name: Vec<usize> = (0..names.len()).collect();
        by_name.sort_unstable_by_key(|place| &names[*place]);
        Self { root, names: names.into(), by_name: by_name.into(), ignored }
    }

    /// Line and column at which the text begins that was not read, if there is any: the expression
    /// is probably not what its author means.
    pub fn ignored(&self) -> Option<(usize, usize)> {
        self.ignored
    }

    /// Whether a message with these properties, in their string form, passes.
    pub fn passes(&self, properties: &str) -> bool {
        self.evaluate(properties) == Ok(Some(true))
    }

    /// Evaluates over properties in their [string form](properties), without building a map.
    pub fn evaluate(&self, properties: &str) -> Truth {
        let mut few = [None; FEW];
        if let Some(values) = few.get_mut(..self.names.len()) {
            self.gather_few(properties, values);
            return self.root.truth(values);
        }
        let mut many = vec![None; self.names.len()];
        for (name, value) in properties::pairs(properties) {
            let found = self.by_name.binary_search_by_key(&name, |place| &self.names[*place]);
            if let Ok(at) = found {
                // Of a name that stands twice the last value wins.
                many[self.by_name[at]] = Some(value);
            }
        }
        self.root.truth(&many)
    }

    /// Puts the values of few properties at their places: from the end, where the last value of a
    /// name comes first, until all are found. One search a pair, and that for its end.
    fn gather_few<'a>(&self, properties: &'a str, values: &mut [Option<&'a str>]) {
        let mut missing = values.len();
        let mut pairs = properties.rsplit(PROPERTY_SEPARATOR);
        while missing > 0
            && let Some(pair) = pairs.next()
        {
            for (name, slot) in self.names.iter().zip(values.iter_mut()) {
                // A name has no separator in it, so what stands before this one is all of it.
                let value = pair.strip_prefix(&**name);
                let Some(value) = value.and_then(|rest| rest.strip_prefix(NAME_VALUE_SEPARATOR))
                else {
                    continue;
                };
                if slot.is_none() && !value.is_empty() {
                    *slot = Some(value);
                    missing -= 1;
                }
                break;
            }
        }
    }

    /// Evaluates over what `lookup` finds.
    pub fn evaluate_with<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> Truth {
        let values: Vec<_> = self.names.iter().map(|name| lookup(name)).collect();
        self.root.truth(&values)
    }
}

/// The values of the properties, by place.
type Values<'v, 'a> = &'v [Option<&'a str>];

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Constant),
    /// The property at a place.
    Property(usize),
    Negate(Box<Node>),
    /// The property as a boolean: unknown without it, else false, whatever it says.
    Cast(usize),
    Not(Box<Node>),
    IsNull {
        operand: Box<Node>,
        negated: bool,
    },
    Compare {
        left: Box<Node>,
        operator: Operator,
        right: Box<Node>,
    },
    Between {
        operand: Box<Node>,
        bounds: Box<(Node, Node)>,
        negated: bool,
    },
    In {
        place: usize,
        items: Box<[Box<str>]>,
        negated: bool,
    },
    Search {
        operand: Box<Node>,
        search: Search,
        text: Box<str>,
        negated: bool,
    },
    /// At least two.
    And(Vec<Node>),
    /// At least two.
    Or(Vec<Node>),
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The searches of 5.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    Contains,
    StartsWith,
    EndsWith,
}

/// What a part evaluates to.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

impl Operator {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Node {
    /// Whether it is true, false or unknown, and nothing else.
    pub(super) fn is_boolean(&self) -> bool {
        match self {
            Self::Constant(constant) => matches!(constant, Constant::Null | Constant::Bool(_)),
            Self::Property(_) | Self::Negate(_) => false,
            _ => true,
        }
    }

    fn truth(&self, values: Values<'_, '_>) -> Truth {
        Ok(match self {
            Self::Constant(Constant::Bool(value)) => Some(*value),
            // The parser puts nothing else where a boolean belongs.
            Self::Constant(_) | Self::Property(_) | Self::Negate(_) => None,
            Self::Cast(place) => values[*place].map(|_| false),
            Self::Not(operand) => operand.truth(values)?.map(|value| !value),
            Self::IsNull { operand, negated } => {
                Some(matches!(operand.value(values)?, Value::Null) != *negated)
            }
            Self::Compare { left, operator, right } => {
                let (left, right) = (left.value(values)?, right.value(values)?);
                match operator {
                    Operator::Equal => equal(left, right)?,
                    Operator::NotEqual => equal(left, right)?.map(|equal| !equal),
                    _ => order(left, right)?.map(|ordering| operator.holds(ordering)),
                }
            }
            Self::Between { operand, bounds, negated } => {
                between(operand.value(values)?, bounds, *negated, values)?
            }
            Self::In { place, items, negated } => {
                values[*place].map(|value| items.iter().any(|item| **item == *value) != *negated)
            }
            Self::Search { operand, search, text, negated } => {
                let Value::Text(value) = operand.value(values)? else { return Ok(Some(false)) };
                let found = match search {
                    _ if text.is_empty() => return Ok(Some(false)),
                    Search::Contains => value.contains(&**text),
                    Search::StartsWith => value.starts_with(&**text),
                    Search::EndsWith => value.ends_with(&**text),
                };
                Some(found != *negated)
            }
            Self::And(sides) => join(sides, false, values)?,
            Self::Or(sides) => join(sides, true, values)?,
        })
    }

    fn value<'a>(&'a self, values: Values<'_, 'a>) -> Result<Value<'a>, EvaluationError> {
        Ok(match self {
            Self::Constant(constant) => match constant {
                Constant::Null => Value::Null,
                Constant::Bool(value) => Value::Bool(*value),
                Constant::Int(value) => Value::Int(*value),
                Constant::Long(value) => Value::Long(*value),
                Constant::Double(value) => Value::Double(*value),
                Constant::Text(text) => Value::Text(text),
            },
            Self::Property(place) => values[*place].map_or(Value::Null, Value::Text),
            Self::Negate(operand) => match operand.value(values)? {
                Value::Int(value) => Value::Int(value.wrapping_neg()),
                Value::Long(value) => Value::Long(value.wrapping_neg()),
                Value::Double(value) => Value::Double(-value),
                _ => Value::Null,
            },
            _ => self.truth(values)?.map_or(Value::Null, Value::Bool),
        })
    }
}

/// A row of AND (`deciding` false) or OR (`deciding` true): the deciding value ends it, else it is
/// unknown if a side is.
fn join(sides: &[Node], deciding: bool, values: Values<'_, '_>) -> Truth {
    let mut result = Some(!deciding);
    for side in sides {
        match side.truth(values)? {
            Some(value) if value == deciding => return Ok(Some(deciding)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

/// `x >= low AND x <= high`, or `x < low OR x > high`.
fn between(
    value: Value<'_>,
    bounds: &(Node, Node),
    negated: bool,
    values: Values<'_, '_>,
) -> Truth {
    let inside = |ordering: Ordering, outside: Ordering| (ordering == outside) == negated;
    let low = order(value, bounds.0.value(values)?)?.map(|it| inside(it, Ordering::Less));
    if low == Some(negated) {
        return Ok(low);
    }
    let high = order(value, bounds.1.value(values)?)?.map(|it| inside(it, Ordering::Greater));
    Ok(match high {
        Some(value) if value == negated => high,
        _ if low.is_none() => None,
        _ => high,
    })
}

/// `=`, in which a missing left side is unknown and a missing right side is different.
fn equal(left: Value<'_>, right: Value<'_>) -> Truth {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => Some(true),
        (Value::Null, _) => None,
        (_, Value::Null) => Some(false),
        (Value::Text(left), Value::Text(right)) => Some(left == right),
        _ => Some(compare(left, right)? == Some(Ordering::Equal)),
    })
}

/// `<` and its kin: unknown if a side is missing; two texts are two doubles.
fn order(left: Value<'_>, right: Value<'_>) -> Result<Option<Ordering>, EvaluationError> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(None),
        (Value::Text(left), Value::Text(right)) => {
            let (left, right) = (double(left)?, double(right)?);
            Ok(Some(compare_doubles(left, right)))
        }
        _ => compare(left, right),
    }
}

/// Compares what is neither missing nor two texts; `None` for a boolean and a number.
fn compare(left: Value<'_>, right: Value<'_>) -> Result<Option<Ordering>, EvaluationError> {
    use Value::{Bool, Double, Int, Long, Text};
    Ok(Some(match (left, right) {
        (Text(text), Int(_) | Long(_) | Double(_)) => compare_numbers(read_as(text, right)?, right),
        (Int(_) | Long(_) | Double(_), Text(text)) => compare_numbers(left, read_as(text, left)?),
        (Text(text), Bool(right)) => text.eq_ignore_ascii_case("true").cmp(&right),
        (Bool(_), Text(_)) => return Err(EvaluationError::BooleanOnTheLeft),
        (Bool(left), Bool(right)) => left.cmp(&right),
        (Bool(_), _) | (_, Bool(_)) => return Ok(None),
        _ => compare_numbers(left, right),
    }))
}

/// A text as a number of the kind of `model`.
fn read_as<'a>(text: &str, model: Value<'_>) -> Result<Value<'a>, EvaluationError> {
    let number = match model {
        Value::Int(_) => text.parse().ok().map(Value::Int),
        Value::Long(_) => text.parse().ok().map(Value::Long),
        _ => parse_double(text).map(Value::Double),
    };
    number.ok_or(EvaluationError::NotANumber)
}

fn double(text: &str) -> Result<f64, EvaluationError> {
    parse_double(text).ok_or(EvaluationError::NotANumber)
}

/// Compares numbers as the wider of their kinds.
fn compare_numbers(left: Value<'_>, right: Value<'_>) -> Ordering {
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => compare_doubles(widened(left), widened(right)),
    }
}

fn whole(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(value) => Some(value.into()),
        Value::Long(value) => Some(value),
        _ => None,
    }
}

fn widened(value: Value<'_>) -> f64 {
    match value {
        Value::Int(value) => value.into(),
        Value::Long(value) => value as f64,
        Value::Double(value) => value,
        _ => f64::NAN,
    }
}

/// Java's order of doubles: −0 is less than 0, and NaN is equal to itself and above all.
fn compare_doubles(left: f64, right: f64) -> Ordering {
    let one_nan = |value: f64| if value.is_nan() { f64::NAN } else { value };
    one_nan(left).total_cmp(&one_nan(right))
}

impl Constant {
    /// The order of two numbers; `None` if one is none.
    pub(super) fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        let number = |constant: &Self| {
            Some(match constant {
                Self::Int(value) => Value::Int(*value),
                Self::Long(value) => Value::Long(*value),
                Self::Double(value) => Value::Double(*value),
                _ => return None,
            })
        };
        Some(compare_numbers(number(self)?, number(other)?))
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Long(_) | Self::Double(_))
    }
}
