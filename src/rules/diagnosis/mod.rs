//! Why a message does not verify, or is not delivered, as exactly as can be found out afterwards.
//!
//! The gateway tells a sender one sentence, whatever failed. The operator, who holds the secret, may know
//! more: here the usual mistakes are undone one after the other, until one of them explains the message.
//! Nothing here decides anything: a finding is advice for a person and never a verdict, and no event
//! passes because of one. No finding shows a secret or a credential; secrets are named by reference.
//!
//! This is a box of tools. Each provider's `diagnose` takes what it needs out of it.

pub mod bodies;
pub mod json;
pub mod presented;
pub mod rendering;
pub mod secrets;
pub mod signature;
pub mod span;
pub mod styles;
pub mod tags;
pub mod unreadable;

use crate::words::message::Message;
use crate::words::secret::Secret;
use crate::words::time::Timestamp;

/// What is to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The message, as it was captured.
    pub message: &'a Message,
    /// The route's secrets.
    pub secrets: &'a [Secret],
    /// The moment at which it is judged.
    pub now: Timestamp,
}

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How far it can be relied on.
    pub certainty: Certainty,
    /// Sentences for the operator.
    pub text: String,
}

/// How far a finding can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It was tried: without it the message would verify, or the place is at fault by itself.
    Cause,
    /// It is worth a look.
    Hint,
}

// === impl Finding ===

impl Finding {
    /// Something that explains the refusal.
    pub fn cause(text: impl Into<String>) -> Self {
        Self {
            certainty: Certainty::Cause,
            text: text.into(),
        }
    }

    /// Something worth a look.
    pub fn hint(text: impl Into<String>) -> Self {
        Self {
            certainty: Certainty::Hint,
            text: text.into(),
        }
    }
}

/// What most tests of findings look at.
#[cfg(test)]
pub fn texts(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| finding.text.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}
