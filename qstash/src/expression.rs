//! `Upstash-Retry-Delay`: an expression for the wait before the next attempt, in milliseconds.
//!
//! `+ - * /`, parentheses, numbers, `retried` (0 before the first retry) and the functions of QStash's documentation. What it does
//! not say is chosen here: a minus may stand before a value, `min` and `max` take two arguments, a result that is negative or no
//! number is 0, and nothing is longer than a day.

use std::time::Duration;

use crate::choices::LONGEST_RETRY_DELAY_MILLIS;

/// How deep parentheses and functions may stand in one another: text of strangers must not end the process.
const DEEPEST: usize = 50;
/// The longest expression, in bytes.
const LONGEST: usize = 1_000;

/// An expression that can be computed.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    text: String,
    tree: Tree,
}

/// The text has all of it: functions have no identity that could be compared.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[derive(Debug, Clone)]
enum Tree {
    Number(f64),
    Retried,
    Negated(Box<Tree>),
    Binary(Box<Tree>, Operator, Box<Tree>),
    One(fn(f64) -> f64, Box<Tree>),
    Two(fn(f64, f64) -> f64, Box<Tree>, Box<Tree>),
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    Plus,
    Minus,
    Times,
    Over,
}

/// Why an expression can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpressionError {
    #[error("the expression ends too soon")]
    Ends,
    #[error("\"{0}\" is not expected at position {1}")]
    Unexpected(char, usize),
    #[error("there is no function or variable \"{0}\"")]
    Unknown(String),
    #[error("the expression is longer or deeper than this server computes")]
    TooLarge,
}

impl Expression {
    pub(crate) fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > LONGEST {
            return Err(ExpressionError::TooLarge);
        }
        let mut parser = Parser { text, at: 0, depth: 0 };
        let tree = parser.sum()?;
        match parser.peek() {
            None => Ok(Self { text: text.to_owned(), tree }),
            Some(other) => Err(ExpressionError::Unexpected(other, parser.at)),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The wait before the retry that follows `retried` retries.
    pub(crate) fn wait(&self, retried: u32) -> Duration {
        let millis = self.tree.value(f64::from(retried));
        let millis = if millis.is_nan() { 0.0 } else { millis.clamp(0.0, LONGEST_RETRY_DELAY_MILLIS) };
        Duration::from_secs_f64(millis / 1_000.0)
    }
}

impl Tree {
    fn value(&self, retried: f64) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Retried => retried,
            Self::Negated(tree) => -tree.value(retried),
            Self::One(function, tree) => function(tree.value(retried)),
            Self::Two(function, first, second) => function(first.value(retried), second.value(retried)),
            Self::Binary(left, operator, right) => operator.apply(left.value(retried), right.value(retried)),
        }
    }
}

impl Operator {
    fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Plus => left + right,
            Self::Minus => left - right,
            Self::Times => left * right,
            Self::Over => left / right,
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, wanted: char) -> Result<(), ExpressionError> {
        match self.peek() {
            Some(found) if found == wanted => self.at += found.len_utf8(),
            Some(found) => return Err(ExpressionError::Unexpected(found, self.at)),
            None => return Err(ExpressionError::Ends),
        }
        Ok(())
    }

    fn sum(&mut self) -> Result<Tree, ExpressionError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(ExpressionError::TooLarge);
        }
        let tree = self.chain(&[('+', Operator::Plus), ('-', Operator::Minus)], Self::product);
        self.depth -= 1;
        tree
    }

    fn product(&mut self) -> Result<Tree, ExpressionError> {
        self.chain(&[('*', Operator::Times), ('/', Operator::Over)], Self::signed)
    }

    /// Operands with operators of one rank between them, from the left to the right.
    fn chain(
        &mut self,
        operators: &[(char, Operator)],
        operand: fn(&mut Self) -> Result<Tree, ExpressionError>,
    ) -> Result<Tree, ExpressionError> {
        let mut tree = operand(self)?;
        while let Some(found) = self.peek() {
            let Some((_, operator)) = operators.iter().find(|(sign, _)| *sign == found) else { break };
            self.at += 1;
            tree = Tree::Binary(Box::new(tree), *operator, Box::new(operand(self)?));
        }
        Ok(tree)
    }

    fn signed(&mut self) -> Result<Tree, ExpressionError> {
        if self.peek() != Some('-') {
            return self.value();
        }
        self.at += 1;
        Ok(Tree::Negated(Box::new(self.value()?)))
    }

    fn value(&mut self) -> Result<Tree, ExpressionError> {
        match self.peek().ok_or(ExpressionError::Ends)? {
            '(' => {
                self.at += 1;
                let tree = self.sum()?;
                self.take(')').map(|()| tree)
            }
            digit if digit.is_ascii_digit() || digit == '.' => self.number(),
            letter if letter.is_ascii_alphabetic() => self.name(),
            other => Err(ExpressionError::Unexpected(other, self.at)),
        }
    }

    fn word(&mut self, belongs: fn(char) -> bool) -> &str {
        let from = self.at;
        self.at += self.text[from..].find(|found| !belongs(found)).unwrap_or(self.text.len() - from);
        &self.text[from..self.at]
    }

    fn number(&mut self) -> Result<Tree, ExpressionError> {
        let at = self.at;
        let digits = self.word(|found| found.is_ascii_digit() || found == '.');
        digits.parse().map(Tree::Number).map_err(|_bad| ExpressionError::Unexpected('.', at))
    }

    fn name(&mut self) -> Result<Tree, ExpressionError> {
        let name = self.word(|found| found.is_ascii_alphanumeric() || found == '_').to_owned();
        if name == "retried" {
            return Ok(Tree::Retried);
        }
        if let Some(function) = of_one(&name) {
            self.take('(')?;
            let tree = Tree::One(function, Box::new(self.sum()?));
            return self.take(')').map(|()| tree);
        }
        let function = of_two(&name).ok_or(ExpressionError::Unknown(name))?;
        self.take('(')?;
        let first = self.sum()?;
        self.take(',')?;
        let tree = Tree::Two(function, Box::new(first), Box::new(self.sum()?));
        self.take(')').map(|()| tree)
    }
}

fn of_one(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "abs" => f64::abs,
        "floor" => f64::floor,
        "ceil" => f64::ceil,
        "round" => f64::round,
        _ => return None,
    })
}

fn of_two(name: &str) -> Option<fn(f64, f64) -> f64> {
    Some(match name {
        "pow" => f64::powf,
        "min" => f64::min,
        "max" => f64::max,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waits(text: &str) -> Vec<u128> {
        let expression = Expression::parse(text).unwrap();
        (0..5).map(|retried| expression.wait(retried).as_millis()).collect()
    }

    #[test]
    fn the_documented_sequences_come_out() {
        for (text, expected) in [
            ("1000", [1_000; 5]),
            ("1000 * (1 + retried)", [1_000, 2_000, 3_000, 4_000, 5_000]),
            ("pow(2, retried) * 1000", [1_000, 2_000, 4_000, 8_000, 16_000]),
            ("max(1000, pow(2, retried) * 100)", [1_000, 1_000, 1_000, 1_000, 1_600]),
            ("min(30000, exp(retried) * 1000)", [1_000, 2_718, 7_389, 20_085, 30_000]),
            ("floor(1.9)+ceil(1.1)+round(1.5)+abs(-2)+sqrt(9)", [10; 5]),
        ] {
            assert_eq!(waits(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_wait_is_none_and_nothing_is_longer_than_a_day() {
        assert_eq!(waits("retried - 2"), [0, 0, 0, 1, 2]);
        assert_eq!(waits("0 / 0"), [0; 5]);
        assert_eq!(waits("1 / 0"), [86_400_000; 5]);
        assert_eq!(waits("10 - 2 - 3"), [5; 5]);
    }

    #[test]
    fn what_can_not_be_read_says_where() {
        for (text, error) in [
            ("", ExpressionError::Ends),
            ("1 +", ExpressionError::Ends),
            ("pow(2)", ExpressionError::Unexpected(')', 5)),
            ("2 ^ 3", ExpressionError::Unexpected('^', 2)),
            ("retries * 2", ExpressionError::Unknown("retries".to_owned())),
            ("1.2.3", ExpressionError::Unexpected('.', 0)),
        ] {
            assert_eq!(Expression::parse(text).unwrap_err(), error, "{text}");
        }
        assert_eq!(Expression::parse(&"(".repeat(900)).unwrap_err(), ExpressionError::TooLarge);
    }

    proptest! {
        #[test]
        fn no_text_ends_the_process(text in "[0-9a-z(),.*/+ é-]{0,200}", retried in 0_u32..100) {
            if let Ok(expression) = Expression::parse(&text) {
                prop_assert!(expression.wait(retried) <= Duration::from_secs(86_400));
            }
        }
    }
}
