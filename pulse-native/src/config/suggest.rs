//! Did you mean: the nearest known name to a mistyped one.

/// The candidate that `given` is most likely meant to be, if one is near enough.
///
/// A third of the letters may be wrong, but at least one and at most three; among equally near ones the first wins.
pub(crate) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody mistypes a name at ten times its length, and the distance costs the product of the lengths.
    if given.len() > 128 {
        return None;
    }
    let allowed = (given.chars().count() / 3).clamp(1, 3);
    let near = candidates.into_iter().map(|candidate| (distance(given, candidate), candidate));
    near.filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters to insert, delete, replace or swap with their neighbour to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // Rows of the usual table: the one before the last, the last and the current one.
    let mut before = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 0..from.len() {
        let mut row = vec![i + 1];
        for j in 0..to.len() {
            let replaced = last[j] + usize::from(from[i] != to[j]);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from[i] == to[j - 1] && from[i - 1] == to[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: &str, to: &str, expected: usize) {
        assert_eq!(distance(from, to), expected, "{from} to {to}");
        assert_eq!(distance(to, from), expected, "{to} to {from}");
    }

    #[test]
    fn the_distance_counts_letters_and_swaps() {
        check("", "", 0);
        check("", "port", 4);
        check("port", "port", 0);
        check("port", "prot", 1);
        check("port", "ports", 1);
        check("port", "part", 1);
        check("max_conections", "max_connections", 1);
        check("server", "limits", 6);
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let names = ["port", "host", "origins"];
        assert_eq!(nearest("prot", names), Some("port"));
        assert_eq!(nearest("origin", names), Some("origins"));
        assert_eq!(nearest("ip", names), None);
        assert_eq!(nearest("shards", names), None);
        assert_eq!(nearest(&"port".repeat(1_000), names), None);
    }
}
