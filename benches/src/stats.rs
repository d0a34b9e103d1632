//! What is made of many measurements: medians, percentiles, and ratios of what was measured side by side.

/// The middle of several values, and the half of them that lies around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// A quarter of the values is below.
    pub(crate) low: f64,
    /// The median.
    pub(crate) middle: f64,
    /// A quarter of the values is above.
    pub(crate) high: f64,
}

/// The value below which a share of all values lies, between the two nearest ones where it falls between them. Not a number where
/// there are no values, which a table shows as such.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = sorted[(below + 1).min(last)];
    sorted[below] + (above - sorted[below]) * place.fract()
}

/// The median.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// Median and quartiles.
pub(crate) fn spread(values: &[f64]) -> Spread {
    Spread { low: percentile(values, 0.25), middle: median(values), high: percentile(values, 0.75) }
}

/// How many times the other each value is. Only values of the same round are compared: what disturbed the machine in it disturbed
/// both.
pub(crate) fn ratios(values: &[f64], others: &[f64]) -> Spread {
    paired(values, others, |value, other| value / other)
}

/// How much more than the other each value is, round by round.
pub(crate) fn differences(values: &[f64], others: &[f64]) -> Spread {
    paired(values, others, |value, other| value - other)
}

fn paired(values: &[f64], others: &[f64], compare: impl Fn(f64, f64) -> f64) -> Spread {
    let compared: Vec<f64> = values.iter().zip(others).map(|(value, other)| compare(*value, *other)).collect();
    spread(&compared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_their_neighbours() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&values), 2.5);
        assert_eq!(percentile(&values, 0.0), 1.0);
        assert_eq!(percentile(&values, 1.0), 4.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn nothing_measured_is_no_number() {
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_slow_round_does_not_change_a_ratio() {
        let ours = [1.0, 10.0, 1.0];
        let theirs = [5.0, 50.0, 5.0];
        assert_eq!(ratios(&theirs, &ours), Spread { low: 5.0, middle: 5.0, high: 5.0 });
        assert_eq!(differences(&theirs, &ours).middle, 4.0);
    }
}
