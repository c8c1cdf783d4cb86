//! [`ClientError`]: what failed, at which step, and what a caller may do about it.

use std::fmt;
use std::time::Duration;

use crate::remoting::RemotingError;
use crate::remoting::protocol::response_code;

/// One attempt of a send: where it went and why it failed.
///
/// ```
/// use rocketmq::client::{Attempt, ClientError};
///
/// let report = |error: &ClientError| {
///     if let ClientError::SendFailed { attempts, elapsed, .. } = error {
///         for Attempt { broker_name, error } in attempts {
///             println!("{broker_name}: {error}; busy: {}", error.is_busy());
///         }
///         println!("after {elapsed:?}");
///     }
/// };
/// report(&ClientError::NotRunning);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Broker name.
    pub broker_name: String,
    /// Why it failed.
    pub error: Box<ClientError>,
}

/// Failure of a client's call.
///
/// | variant | the step that failed | what helps |
/// |---|---|---|
/// | `Invalid` | the caller's own arguments or options | correct them |
/// | `NotRunning` | the client is not started, or shut down | start it |
/// | `NoNameServer` | no name server is configured | set `namesrvAddr` or `NAMESRV_ADDR` |
/// | `Discovery` | the address server did not tell the name servers | check its domain, try again |
/// | `NameServer` | no name server answered | check the addresses, try again |
/// | `NoRoute` | no name server knows the topic | create the topic |
/// | `NoBroker` | the route names no usable broker | start the broker, try again |
/// | `Broker` | a broker (or name server) answered with an error | see its code |
/// | `Remoting` | connection or answer of a broker | try again |
/// | `Decode` | an answer is not what the protocol says | tell the server's author |
/// | `SendFailed` | every attempt of a send | see the attempts |
/// | `RequestTimeout` | nobody replied to a request | try again |
/// | `NoReplyAddress` | the message is not a request of a request-reply exchange | reply to requests only |
/// | `Io` | the local offset file | see the reason |
///
/// ```
/// use rocketmq::client::{ClientError, Message, ProducerOptions};
/// # let site = rocketmq::Standalone::temporary()?;
/// # let names = site.name_servers();
///
/// let producer = ProducerOptions::new("shop").name_servers(names).start()?;
/// match producer.send(&Message::new("a topic", "x")) {
///     Ok(result) => println!("{}", result.message_id),
///     Err(ClientError::Invalid(what)) => println!("to be corrected: {what}"),
///     Err(error) if error.is_transient() => println!("again later: {error}"),
///     Err(error) => println!("Java's code {}: {error}", error.code()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// An argument or option is not legal. The sentence says what would be right.
    Invalid(String),
    /// The client is not started, or already shut down.
    NotRunning,
    /// No name server is configured.
    NoNameServer,
    /// The address server has not told any name server yet.
    Discovery {
        /// Its host.
        domain: String,
        /// What came of the last question.
        reason: String,
    },
    /// No name server gave an answer.
    NameServer {
        /// Addresses tried, in order.
        tried: Vec<String>,
        /// Failure of the last one.
        last: RemotingError,
    },
    /// No name server knows the topic.
    NoRoute {
        /// Topic.
        topic: String,
    },
    /// The route names no broker that could do it.
    NoBroker {
        /// Broker name, or topic when all of its brokers are meant.
        name: String,
        /// What is missing.
        reason: &'static str,
    },
    /// The peer answered with an error.
    Broker {
        /// Response code.
        code: i32,
        /// Its remark.
        remark: String,
        /// Who answered.
        addr: String,
    },
    /// No answer.
    Remoting(RemotingError),
    /// The peer's answer cannot be understood.
    Decode {
        /// Who answered.
        addr: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A send failed after one or more attempts.
    SendFailed {
        /// Topic.
        topic: String,
        /// Attempts in order; empty when time ran out before the first.
        attempts: Vec<Attempt>,
        /// Time since the call began.
        elapsed: Duration,
        /// Whether time ran out, rather than attempts.
        timed_out: bool,
    },
    /// Nobody replied in time.
    RequestTimeout {
        /// Correlation id of the request.
        correlation_id: String,
        /// Limit.
        timeout: Duration,
    },
    /// The message lacks the properties that lead a reply to its requester.
    NoReplyAddress {
        /// The property that is missing.
        missing: &'static str,
    },
    /// Reading or writing a local file failed.
    Io(String),
}

impl ClientError {
    /// The numeric code that Java's client carries for this failure: a response code, 10001
    /// (connect), 10002 (timeout), 10003 (no broker), 10004 (no name server), 10005 (no route),
    /// 10006 (no reply), 10007 (no reply address), else -1.
    pub fn code(&self) -> i32 {
        match self {
            Self::Broker { code, .. } => *code,
            Self::Remoting(RemotingError::Connect { .. }) | Self::NameServer { .. } => 10001,
            Self::Remoting(RemotingError::Timeout { .. }) => 10002,
            Self::NoBroker { .. } => 10003,
            Self::NoNameServer | Self::Discovery { .. } => 10004,
            Self::NoRoute { .. } => 10005,
            Self::RequestTimeout { .. } => 10006,
            Self::NoReplyAddress { .. } => 10007,
            Self::SendFailed { timed_out: true, .. } => 10002,
            Self::SendFailed { attempts, .. } => attempts.last().map_or(-1, |a| a.error.code()),
            _ => -1,
        }
    }

    /// Whether the same call may succeed later without a change of its arguments.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NameServer { .. }
            | Self::Discovery { .. }
            | Self::NoBroker { .. }
            | Self::Remoting(_)
            | Self::RequestTimeout { .. } => true,
            Self::Broker { code, .. } => matches!(
                *code,
                response_code::SYSTEM_BUSY
                    | response_code::SERVICE_NOT_AVAILABLE
                    | response_code::SYSTEM_ERROR
                    | response_code::FLOW_CONTROL
            ),
            Self::SendFailed { timed_out, attempts, .. } => {
                *timed_out || attempts.last().is_some_and(|attempt| attempt.error.is_transient())
            }
            _ => false,
        }
    }

    /// Whether a broker refused because it is overloaded.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Broker { code, .. } => {
                matches!(*code, response_code::SYSTEM_BUSY | response_code::FLOW_CONTROL)
            }
            Self::SendFailed { attempts, .. } => {
                attempts.last().is_some_and(|attempt| attempt.error.is_busy())
            }
            _ => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(what) | Self::Io(what) => f.write_str(what),
            Self::NotRunning => f.write_str("the client is not running"),
            Self::NoNameServer => f.write_str(
                "no name server is configured: set the client's name_servers or NAMESRV_ADDR",
            ),
            Self::Discovery { domain, reason } => {
                write!(f, "the address server {domain} does not tell the name servers: {reason}")
            }
            Self::NameServer { tried, last } => {
                write!(f, "no name server of {} answered: {last}", tried.join(";"))
            }
            Self::NoRoute { topic } => write!(
                f,
                "no broker is known for the topic {topic}: it does not exist, or its broker is \
                 not registered at the name server"
            ),
            Self::NoBroker { name, reason } => write!(f, "{name}: {reason}"),
            Self::Broker { code, remark, addr } => {
                write!(f, "{addr} answered with code {code}: {remark}")
            }
            Self::Remoting(error) => error.fmt(f),
            Self::Decode { addr, reason } => write!(f, "the answer of {addr}: {reason}"),
            Self::SendFailed { topic, attempts, elapsed, timed_out } => {
                write!(
                    f,
                    "send to {topic} failed {} {} attempt{} and {} ms",
                    if *timed_out { "by timeout, after" } else { "after" },
                    attempts.len(),
                    if attempts.len() == 1 { "" } else { "s" },
                    elapsed.as_millis()
                )?;
                for attempt in attempts {
                    write!(f, "; {}: {}", attempt.broker_name, attempt.error)?;
                }
                Ok(())
            }
            Self::RequestTimeout { correlation_id, timeout } => write!(
                f,
                "no reply to the request {correlation_id} within {} ms",
                timeout.as_millis()
            ),
            Self::NoReplyAddress { missing } => {
                write!(f, "cannot reply: the message has no property {missing}")
            }
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NameServer { last, .. } | Self::Remoting(last) => Some(last),
            Self::SendFailed { attempts, .. } => {
                attempts.last().map(|attempt| &*attempt.error as &dyn std::error::Error)
            }
            _ => None,
        }
    }
}

impl From<RemotingError> for ClientError {
    fn from(error: RemotingError) -> Self {
        match error {
            RemotingError::Stopped => Self::NotRunning,
            error => Self::Remoting(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_send_names_every_attempt_and_takes_the_code_of_the_last() {
        let busy = ClientError::Broker {
            code: response_code::SYSTEM_BUSY,
            remark: "[TIMEOUT_CLEAN_QUEUE]".into(),
            addr: "b:1".into(),
        };
        let refused = ClientError::Remoting(RemotingError::Connect {
            addr: "a:1".into(),
            reason: "refused".into(),
        });
        let attempts = vec![
            Attempt { broker_name: "broker-a".into(), error: Box::new(refused) },
            Attempt { broker_name: "broker-b".into(), error: Box::new(busy) },
        ];
        let error = ClientError::SendFailed {
            topic: "T".into(),
            attempts,
            elapsed: Duration::from_millis(12),
            timed_out: false,
        };
        assert_eq!(error.code(), 2);
        assert!(error.is_busy() && error.is_transient());
        assert_eq!(
            error.to_string(),
            "send to T failed after 2 attempts and 12 ms; broker-a: connect to a:1 failed: \
             refused; broker-b: b:1 answered with code 2: [TIMEOUT_CLEAN_QUEUE]"
        );
    }
}
