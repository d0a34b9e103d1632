//! What the doctor found, for a person or a program.

use serde::Serialize;

use crate::{
    follow_up::runnable,
    text::{counted, harmless},
};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Good to know.
    Note,
    /// It works today.
    Warning,
    /// Events do not come through, or will be lost.
    Error,
}

/// One finding: what is wrong, what will happen, and how to mend it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// A fixed word, for programs.
    pub(crate) code: &'static str,
    pub(crate) problem: String,
    pub(crate) happens: String,
    pub(crate) mend: String,
}

/// Everything that was looked at.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    /// What was looked at and found to be right.
    pub(crate) right: Vec<String>,
}

impl Finding {
    fn new(severity: Severity, code: &'static str, problem: impl Into<String>) -> Self {
        Self { severity, code, problem: problem.into(), happens: String::new(), mend: String::new() }
    }

    pub(crate) fn error(code: &'static str, problem: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, problem)
    }

    pub(crate) fn warning(code: &'static str, problem: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, problem)
    }

    pub(crate) fn note(code: &'static str, problem: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, problem)
    }

    /// What will happen.
    pub(crate) fn happens(self, happens: impl Into<String>) -> Self {
        Self { happens: happens.into(), ..self }
    }

    /// How to mend it.
    pub(crate) fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: mend.into(), ..self }
    }
}

impl Report {
    pub(crate) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Notes what is right, unless something was found since there were `before` findings.
    pub(crate) fn right_since(&mut self, before: usize, what: impl Into<String>) {
        if self.findings.len() == before {
            self.right.push(what.into());
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.findings.len()
    }

    fn of(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// 2 where there are errors, 1 where there are warnings, else 0.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.findings.iter().map(|finding| finding.severity).max() {
            Some(Severity::Error) => 2,
            Some(Severity::Warning) => 1,
            _ => 0,
        }
    }

    /// What is right first, then the findings, the worst last: where a terminal ends.
    pub(crate) fn print(&self) {
        for what in &self.right {
            println!("  ok       {}", harmless(what));
        }
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|finding| finding.severity);
        for finding in findings {
            print(finding);
        }
        let [errors, warnings, notes] = [Severity::Error, Severity::Warning, Severity::Note].map(|one| self.of(one));
        let [errors, warnings, notes] =
            [(errors, "error"), (warnings, "warning"), (notes, "note")].map(|(count, what)| counted(count, what));
        println!("\n{errors}, {warnings}, {notes}.");
    }
}

fn print(finding: &Finding) {
    let word = match finding.severity {
        Severity::Note => "note",
        Severity::Warning => "WARNING",
        Severity::Error => "ERROR",
    };
    println!("\n  {word:<8} {} [{}]", harmless(&finding.problem), finding.code);
    for (title, text) in [("so", &finding.happens), ("do", &finding.mend)] {
        if !text.is_empty() {
            println!("           {title}: {}", runnable(&harmless(text)));
        }
    }
}
