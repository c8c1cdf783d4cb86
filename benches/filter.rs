//! SQL92 filters: compiling, evaluating over the properties of a stored message, and the bit map of a
//! topic with many groups. One line each; the best of several rounds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rocketmq::filter::{BloomFilter, CompileCache, Dialect, bloom, compile};

/// What a producer's client and the broker put beside three properties of the application.
const PROPERTIES: &str = "UNIQ_KEY\u{1}FD0000000000000000000000000000020D494E0E2F2A6968C8190000\u{2}\
    WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}a\u{1}6\u{2}b\u{1}x\u{2}color\u{1}red\u{2}CLUSTER\u{1}DefaultCluster";

const EXPRESSIONS: [&str; 5] = [
    "a > 5 AND b = 'x'",
    "TAGS = 'TagA'",
    "a BETWEEN 1.5 AND 9.5",
    "color IN ('blue', 'green', 'red') AND missing IS NULL",
    "a < 3 OR b = 'y' OR color = 'blue' OR NOT (TAGS = 'TagA')",
];

fn main() {
    for text in EXPRESSIONS {
        let expression = compile(text, Dialect::V4).expect("an expression");
        let each = measure(|| black_box(&expression).passes(black_box(PROPERTIES)));
        println!("evaluate {text}: {} ns", each.as_nanos());
    }
    let each = measure(|| compile(black_box(EXPRESSIONS[4]), Dialect::V4).is_ok());
    println!("compile the last of them: {} ns", each.as_nanos());
    let cache = CompileCache::new();
    let each = measure(|| cache.compile(black_box(EXPRESSIONS[4]), Dialect::V4).is_ok());
    println!("compile it again: {} ns", each.as_nanos());
    let filter = BloomFilter::new(20, 32).expect("the default shape");
    let groups: Vec<_> = (0..32)
        .map(|group| {
            let expression = compile(&format!("a > {group}"), Dialect::V4).expect("an expression");
            (expression, filter.positions(&format!("group{group}"), "Topic"))
        })
        .collect();
    let each = measure(|| {
        let mut bit_map = [0; 14];
        for (expression, positions) in &groups {
            if expression.passes(black_box(PROPERTIES)) {
                bloom::set(&mut bit_map, positions);
            }
        }
        bit_map[0] != 1
    });
    println!("bit map of 32 groups: {} ns", each.as_nanos());
}

/// The time of one call, in the best of several rounds.
fn measure(call: impl Fn() -> bool) -> Duration {
    const CALLS: u32 = 20_000;
    let round = |_| {
        let began = Instant::now();
        for _ in 0..CALLS {
            black_box(call());
        }
        began.elapsed() / CALLS
    };
    (0..20).map(round).min().unwrap_or_default()
}
