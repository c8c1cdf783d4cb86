//! [`Refusal`]: why a request is not done, as its sender is told.

use crate::remoting::Command;
use crate::remoting::protocol::response_code as code;

/// Java ends some remarks with this pointer; operators' tools look for it.
pub const FAQ: &str = "\nSee http://rocketmq.apache.org/docs/faq/ for further details.";

/// A response code and a remark for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Response code.
    pub code: i32,
    /// What was wrong and what would be right.
    pub remark: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: i32, remark: impl Into<String>) -> Self {
        Self { code, remark: remark.into() }
    }

    /// The consumer group is unknown and not made on use.
    pub fn group_not_exist(group: &str) -> Self {
        Self::new(
            code::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("subscription group not exist, {group} {FAQ}"),
        )
    }

    /// Writes it into a response that already has header fields.
    pub fn write(self, response: &mut Command) {
        response.code = self.code;
        response.remark = Some(self.remark);
    }

    /// The response.
    pub fn response(self) -> Command {
        Command::failure(self.code, self.remark)
    }
}
