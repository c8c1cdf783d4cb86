//! Which messages a pull gets: filters by tags, by SQL92 expressions, and of retried messages.
//! Which filters groups registered is in [`consumer_filters`](super::consumer_filters).
//!
//! By tags, the broker compares hashes only, by the consume-queue unit alone; the client compares
//! the texts. Two tags with one hash are both sent. By an expression, it looks at the unit's bit map
//! if there is one that can be trusted, then at the properties in the record.

use std::sync::Arc;

use super::consumer_filters::{ConsumerFilter, ConsumerFilters};
use super::{Broker, Refusal};
use crate::common::checksum::java_hash;
use crate::common::properties::{self, RETRY_TOPIC};
use crate::common::record::read_record;
use crate::filter::{Expression, bloom};
use crate::remoting::protocol::heartbeat::SubscriptionData;
use crate::remoting::protocol::response_code as code;
use crate::store::MessageFilter;
use crate::store::config::BrokerRole;
use crate::store::message::ExtUnit;

/// The expression type of tags.
pub const TAG: &str = "TAG";

/// The text that subscribes to everything.
pub const EVERYTHING: &str = "*";

/// Whether an expression type means tags.
pub fn is_tag_type(expression_type: Option<&str>) -> bool {
    matches!(expression_type, None | Some("" | TAG))
}

/// A filter by tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFilter {
    /// Java hashes of the wanted tags, sorted; `None` wants everything.
    hashes: Option<Box<[i32]>>,
}

impl TagFilter {
    /// Wants every message.
    pub fn everything() -> Self {
        Self { hashes: None }
    }

    /// Wants no message, but those whose tags code is not known.
    pub fn nothing() -> Self {
        Self { hashes: Some(Box::default()) }
    }

    /// Wants these hashes only.
    pub fn of_hashes(hashes: impl IntoIterator<Item = i32>) -> Self {
        let mut hashes: Vec<i32> = hashes.into_iter().collect();
        hashes.sort_unstable();
        hashes.dedup();
        Self { hashes: Some(hashes.into()) }
    }

    /// Reads an expression such as `TagA || TagB`. No text and `*` are everything. The error says
    /// what would be right.
    ///
    /// Trailing separators do not count, as in Java: `||` is an error, ` ` a filter that nothing
    /// passes.
    pub fn parse(expression: Option<&str>) -> Result<Self, String> {
        let text = match expression {
            None | Some("" | EVERYTHING) => return Ok(Self::everything()),
            Some(text) => text,
        };
        let mut end = text;
        while let Some(shorter) = end.strip_suffix("||") {
            end = shorter;
        }
        if end.is_empty() {
            return Err(format!(
                "the subscription \"{text}\" names no tag; expected * or tags separated by ||"
            ));
        }
        let tags = end.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        Ok(Self::of_hashes(tags.map(java_hash)))
    }

    /// The filter of a subscription that a heartbeat brought.
    pub fn of_subscription(subscription: &SubscriptionData) -> Self {
        let everything = matches!(subscription.sub_string.as_deref(), None | Some("" | EVERYTHING));
        if subscription.class_filter_mode || everything {
            Self::everything()
        } else {
            Self::of_hashes(subscription.code_set.iter().copied())
        }
    }

    /// Whether it wants everything, so that no filter is needed at all.
    pub fn wants_everything(&self) -> bool {
        self.hashes.is_none()
    }

    /// The filter for a pull; `None` wants everything.
    pub fn for_pull(self) -> Option<Arc<dyn MessageFilter>> {
        (!self.wants_everything()).then(|| Arc::new(self) as _)
    }
}

impl MessageFilter for TagFilter {
    fn matches_queue(&self, tags_code: Option<i64>, _ext: Option<&ExtUnit>) -> bool {
        let (Some(code), Some(hashes)) = (tags_code, &self.hashes) else { return true };
        // Java compares the low 32 bits.
        hashes.binary_search(&(code as i32)).is_ok()
    }
}

/// The refusal of a broker that filters by tags only.
pub fn expressions_disabled(kind: &str) -> Refusal {
    Refusal::new(
        code::SYSTEM_ERROR,
        format!("The broker does not support consumer to filter message by {kind}"),
    )
}

/// A filter by an expression.
pub struct SqlFilter {
    expression: Arc<Expression>,
    bits: Option<Bits>,
}

/// What a bit map must have.
struct Bits {
    positions: Arc<[u32]>,
    /// Bit maps of messages stored later have the bits.
    born_ms: i64,
    /// Bytes of a bit map that the present bloom filter made.
    map_bytes: usize,
}

impl SqlFilter {
    /// The filter of an expression that nobody registered: no bit map knows of it.
    pub fn of_expression(expression: Arc<Expression>) -> Self {
        Self { expression, bits: None }
    }

    /// The filter that a group registered.
    ///
    /// A slave does not look at bit maps: its messages were stored by its master's clock, and
    /// filters are born by its own, so that later need not be later.
    pub fn registered(broker: &Broker, filter: &ConsumerFilter) -> Self {
        let is_slave = broker.store.config().broker_role == BrokerRole::Slave;
        let bits = (!is_slave).then(|| Bits {
            positions: Arc::clone(&filter.positions),
            born_ms: filter.born_ms,
            map_bytes: broker.consumer_filters.bloom().bytes(),
        });
        Self { expression: Arc::clone(&filter.expression), bits }
    }
}

impl MessageFilter for SqlFilter {
    fn matches_queue(&self, _tags_code: Option<i64>, ext: Option<&ExtUnit>) -> bool {
        let (Some(bits), Some(ext)) = (&self.bits, ext) else { return true };
        ext.store_timestamp <= bits.born_ms
            || ext.bit_map.len() != bits.map_bytes
            || bloom::has_all(&ext.bit_map, &bits.positions)
    }

    fn matches_record(&self, record: &[u8]) -> bool {
        read_record(record, false).is_ok_and(|record| self.expression.passes(record.properties))
    }

    fn needs_record(&self) -> bool {
        true
    }
}

/// The filter of a retry topic with `filterSupportRetry`: what the subscription to it says, and the
/// filter of the group for the topic from which the message was given back.
pub struct RetryFilter {
    /// Of the subscription to the retry topic; `None` wants everything.
    pub inner: Option<Arc<dyn MessageFilter>>,
    /// Group of the retry topic.
    pub group: Box<str>,
    /// Filters of all groups.
    pub filters: Arc<ConsumerFilters>,
}

impl MessageFilter for RetryFilter {
    fn matches_queue(&self, tags_code: Option<i64>, ext: Option<&ExtUnit>) -> bool {
        self.inner.as_ref().is_none_or(|filter| filter.matches_queue(tags_code, ext))
    }

    fn matches_record(&self, record: &[u8]) -> bool {
        let Ok(record) = read_record(record, false) else { return false };
        let topic = properties::find(record.properties, RETRY_TOPIC).unwrap_or_default();
        let filter = self.filters.get(topic, &self.group);
        filter.is_none_or(|filter| filter.expression.passes(record.properties))
    }

    fn needs_record(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
