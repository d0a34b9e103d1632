//! Evaluates an alarm minute by minute.
//!
//! Sources, all of them pages of the CloudWatch user guide: "Alarm evaluation", "Alarm evaluation window", "Configuring how CloudWatch alarms
//! treat missing data", whose tables are this module's tests, and "Using metric math". What they leave open is decided here so that an alarm
//! rings late rather than early: data points show after a delay, and aligned periods count when they are over.

use surehook::Millis;

use super::{
    MINUTE,
    data::{Data, Point},
    definition::{Alarm, Comparison, Missing, Statistic},
};

/// Periods that CloudWatch reads beyond those that it evaluates. Source: the tables of "Configuring how CloudWatch alarms treat missing
/// data", which read five periods to evaluate three.
const EXTRA_PERIODS: usize = 2;

/// Where the periods lie that an alarm evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The newest period ends at the minute of the evaluation. CloudWatch's default.
    Sliding,
    /// Periods begin at multiples of their length since the epoch, and the newest is the last that is over.
    WallClock,
}

/// The state of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Too few periods breach.
    Ok,
    /// Enough of them breach.
    Alarm,
    /// There is no data.
    InsufficientData,
}

/// The points of a watched metric, and what is computed of them.
type Series<'d> = (&'d [Point], Statistic);

impl Window {
    /// Returns the end of the newest period that is evaluated at a minute.
    fn end(self, minute: Millis, period: Millis) -> Millis {
        match self {
            Self::Sliding => minute,
            Self::WallClock => minute.div_euclid(period) * period,
        }
    }
}

impl Alarm {
    /// Returns the minutes at which the alarm goes into the state ALARM. It begins in the state OK.
    pub fn rings<'d>(
        &'d self,
        data: &'d Data,
        window: Window,
        from: Millis,
        until: Millis,
    ) -> impl Iterator<Item = Millis> + 'd {
        let series: Vec<Series<'d>> =
            self.watched.iter().map(|one| (data.points(&one.metric), one.statistic)).collect();
        let until = if self.can_breach(&series) { until } else { Millis::MIN };
        let first = from.div_euclid(MINUTE) + 1;
        let mut state = State::Ok;
        (first..=until.div_euclid(MINUTE)).map(|minute| minute * MINUTE).filter(move |minute| {
            let next = self.state_at(&series, window, *minute).unwrap_or(state);
            std::mem::replace(&mut state, next) != State::Alarm && next == State::Alarm
        })
    }

    /// Returns whether any data could breach, so that most alarms of a run need no evaluation. No value is negative.
    fn can_breach(&self, series: &[Series<'_>]) -> bool {
        if matches!(self.comparison, Comparison::Less | Comparison::LessOrEqual) || self.missing == Missing::Breaching {
            return true;
        }
        let bound = |(points, statistic): &Series<'_>| match statistic {
            Statistic::Maximum | Statistic::Average => compute(Statistic::Maximum, points.iter()),
            additive => compute(*additive, points.iter()),
        };
        self.breaches(series.iter().filter_map(bound).sum())
    }

    /// Evaluates once; `None` where the state stays.
    fn state_at(&self, series: &[Series<'_>], window: Window, minute: Millis) -> Option<State> {
        let end = window.end(minute, self.period);
        let periods = (0..).take(self.evaluation_periods + EXTRA_PERIODS).map(|back: Millis| end - back * self.period);
        self.state_of(periods.map(|end| self.value(series, end, minute).map(|value| self.breaches(value))))
    }

    /// Returns the state that follows from periods, the newest first: whether each breaches, `None` where it has no data.
    pub fn state_of(&self, newest_first: impl Iterator<Item = Option<bool>>) -> Option<State> {
        let (mut real, mut breaching, mut oldest) = (0, 0, 0);
        for (age, breaches) in newest_first.enumerate() {
            match breaches {
                // Where all must breach, one that does not is enough.
                Some(false) if self.datapoints_to_alarm == self.evaluation_periods => return Some(State::Ok),
                Some(breaches) => {
                    real += 1;
                    breaching += usize::from(breaches);
                    oldest = age + 1;
                }
                None => {}
            }
            if real == self.evaluation_periods {
                return Some(self.by_count(breaching));
            }
        }
        self.state_with_missing(real, breaching, oldest)
    }

    /// Fills up what is missing. `oldest` is the age of the oldest real point, in periods.
    fn state_with_missing(&self, real: usize, breaching: usize, oldest: usize) -> Option<State> {
        let is_mixed = breaching < real;
        match self.missing {
            Missing::Breaching => Some(self.by_count(breaching + self.evaluation_periods - real)),
            Missing::Ignore if !is_mixed && breaching < self.datapoints_to_alarm => None,
            Missing::Missing if real == 0 => Some(State::InsufficientData),
            Missing::Missing if !is_mixed && oldest >= self.datapoints_to_alarm => Some(State::Alarm),
            Missing::Missing if !is_mixed && breaching < self.datapoints_to_alarm => Some(State::InsufficientData),
            _ => Some(self.by_count(breaching)),
        }
    }

    fn by_count(&self, breaching: usize) -> State {
        if breaching >= self.datapoints_to_alarm { State::Alarm } else { State::Ok }
    }

    /// Returns the value of the period that ends at `end`, as it shows at a minute. `SUM` leaves out metrics without data.
    fn value(&self, series: &[Series<'_>], end: Millis, minute: Millis) -> Option<f64> {
        let start = end - self.period;
        let of = |(points, statistic): &Series<'_>| {
            let first = points.partition_point(|point| point.at < start);
            let within = points[first..].iter().take_while(|point| point.at < end);
            compute(*statistic, within.filter(|point| point.visible <= minute))
        };
        series.iter().filter_map(of).reduce(|sum, value| sum + value)
    }

    fn breaches(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Greater => value > self.threshold,
            Comparison::GreaterOrEqual => value >= self.threshold,
            Comparison::Less => value < self.threshold,
            Comparison::LessOrEqual => value <= self.threshold,
        }
    }
}

/// Computes a statistic; `None` without points.
fn compute<'p>(statistic: Statistic, points: impl Iterator<Item = &'p Point>) -> Option<f64> {
    let (mut count, mut sum, mut maximum) = (0.0, 0.0, f64::MIN);
    for point in points {
        count += 1.0;
        sum += point.value;
        maximum = f64::max(maximum, point.value);
    }
    (count > 0.0).then_some(match statistic {
        Statistic::Sum => sum,
        Statistic::Maximum => maximum,
        Statistic::Average => sum / count,
        Statistic::SampleCount => count,
    })
}
