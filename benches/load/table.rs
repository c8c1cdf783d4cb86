//! [`Table`]: figures of two systems by row, and their ratios, as markdown.

/// Whether a larger figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Yes.
    More,
    /// No.
    Less,
}

/// What a row's figures are.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// As it is printed.
    pub name: &'static str,
    /// Which way is good.
    pub better: Better,
    /// Digits after the point.
    pub digits: usize,
}

/// Messages a second.
pub const RATE: Unit = Unit { name: "1/s", better: Better::More, digits: 0 };
/// Time.
pub const MILLISECONDS: Unit = Unit { name: "ms", better: Better::Less, digits: 0 };
/// Time.
pub const MICROSECONDS: Unit = Unit { name: "µs", better: Better::Less, digits: 0 };
/// Processor time a message.
pub const PROCESSOR: Unit = Unit { name: "µs", better: Better::Less, digits: 2 };
/// Memory.
pub const MEMORY: Unit = Unit { name: "MiB", better: Better::Less, digits: 1 };

/// Figures by row; a row has one pair for each round.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

struct Row {
    name: String,
    unit: Unit,
    rounds: [Vec<f64>; 2],
}

impl Table {
    /// Adds the figures of a round, Java's first.
    pub fn add(&mut self, name: &str, unit: Unit, pair: [f64; 2]) {
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name: name.to_owned(), unit, rounds: [Vec::new(), Vec::new()] });
            self.rows.len() - 1
        });
        for (figures, figure) in self.rows[at].rounds.iter_mut().zip(pair) {
            figures.push(figure);
        }
        eprintln!("  {name}: {:.2} and {:.2} {}", pair[0], pair[1], unit.name);
    }

    /// The medians of all rounds.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| work | unit | Java 4.9.7 | rocketmq-std | better by |\n");
        text.push_str("|---|---|---:|---:|---:|\n");
        for row in &self.rows {
            let [java, ours] = row.rounds.each_ref().map(|figures| median(figures));
            let Unit { name: unit, better, digits } = row.unit;
            let ratio = if better == Better::More { ours / java } else { java / ours };
            text.push_str(&format!(
                "| {} | {unit} | {java:.digits$} | {ours:.digits$} | {ratio:.1} × |\n",
                row.name
            ));
        }
        text
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
