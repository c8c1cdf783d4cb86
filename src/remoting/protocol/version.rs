//! Names of the release ordinals that stand in every frame.

/// The name of a release, from its ordinal (spec: remoting 1.6): `409` is `V4_9_8`. A release has
/// its snapshot, `V4_9_8_SNAPSHOT`, just before it.
pub fn name(ordinal: i32) -> String {
    let (family, index, first) = match ordinal {
        ..=14 => return "V3_0_0_SNAPSHOT".to_owned(),
        15 => return "V3_0_0_FINAL".to_owned(),
        16..=45 => ("V3_0".to_owned(), ordinal - 16, 1),
        46..=65 => ("V3_1".to_owned(), ordinal - 46, 0),
        66..=85 => ("V3_2".to_owned(), ordinal - 66, 0),
        86..=211 => (format!("V3_{}", 3 + (ordinal - 86) / 18), (ordinal - 86) % 18, 1),
        212..=411 => (format!("V4_{}", (ordinal - 212) / 20), (ordinal - 212) % 20, 0),
        412..=611 => (format!("V5_{}", (ordinal - 412) / 20), (ordinal - 412) % 20, 0),
        _ => return "HIGHER_VERSION".to_owned(),
    };
    let snapshot = if index % 2 == 0 { "_SNAPSHOT" } else { "" };
    format!("{family}_{}{snapshot}", first + index / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_releases() {
        for (ordinal, expected) in [
            (28, "V3_0_7_SNAPSHOT"),
            (37, "V3_0_11"),
            (62, "V3_1_8_SNAPSHOT"),
            (121, "V3_4_9"),
            (213, "V4_0_0"),
            (232, "V4_1_0_SNAPSHOT"),
            (317, "V4_5_2"),
            (401, "V4_9_4"),
            (409, "V4_9_8"),
            (413, "V5_0_0"),
            (479, "V5_3_3"),
            (612, "HIGHER_VERSION"),
        ] {
            assert_eq!(name(ordinal), expected);
        }
    }
}
