//! Body of HEART_BEAT, with the leniency its senders need: enums by name or ordinal, longs as text,
//! missing collections.

use crate::common::clock::now_ms;
use crate::common::json::{FromJson, Json, JsonError, ToJson};
use crate::json_body;

macro_rules! named_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant),* }

        impl $name {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Java's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl ToJson for $name {
            fn to_json(&self) -> Json {
                Json::Text(self.name().to_owned())
            }
        }

        impl FromJson for $name {
            fn from_json(json: &Json) -> Result<Self, JsonError> {
                let found = match json {
                    Json::Int(ordinal) => {
                        usize::try_from(*ordinal).ok().and_then(|at| Self::ALL.get(at).copied())
                    }
                    Json::Text(text) => {
                        Self::ALL.iter().copied().find(|value| value.name().eq_ignore_ascii_case(text))
                    }
                    _ => None,
                };
                found.ok_or_else(|| JsonError { at: 0, what: format!("not a {}", stringify!($name)) })
            }

            /// A name that is not known is none; an ordinal that is not known is an error.
            fn optional(json: &Json) -> Result<Option<Self>, JsonError> {
                match json {
                    Json::Text(_) => Ok(Self::from_json(json).ok()),
                    _ => Self::from_json(json).map(Some),
                }
            }
        }
    };
}

named_enum! {
    /// How a group consumes.
    pub enum ConsumeType {
        /// Pull consumer.
        Actively = "CONSUME_ACTIVELY",
        /// Push consumer.
        Passively = "CONSUME_PASSIVELY",
    }
}

named_enum! {
    /// Who of a group gets a message.
    pub enum MessageModel {
        /// Every member.
        Broadcasting = "BROADCASTING",
        /// One member.
        Clustering = "CLUSTERING",
    }
}

named_enum! {
    /// Where a new group starts.
    pub enum ConsumeFromWhere {
        /// At the end.
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Deprecated form of the end.
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Deprecated form of the start.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Deprecated form of the end.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the start.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

json_body! {
    /// A subscription of a group to a topic.
    pub struct SubscriptionData {
        /// Class filter mode.
        pub class_filter_mode: bool => "classFilterMode",
        /// Java hashes of the tags.
        pub code_set: Vec<i32> => "codeSet",
        /// `TAG` or `SQL92`.
        pub expression_type: Option<String> => "expressionType" = Some("TAG".to_owned()),
        /// Expression.
        pub sub_string: Option<String> => "subString",
        /// Version: ms in Java, ns in Go; of a client that gives none, when it came.
        pub sub_version: i64 => "subVersion" = now_ms(),
        /// Tags.
        pub tags_set: Vec<String> => "tagsSet",
        /// Topic.
        pub topic: String => "topic",
    }
}

json_body! {
    /// A consumer group of a client.
    pub struct ConsumerData {
        /// Start.
        pub consume_from_where: Option<ConsumeFromWhere> => "consumeFromWhere",
        /// Push or pull.
        pub consume_type: Option<ConsumeType> => "consumeType",
        /// Group.
        pub group_name: Option<String> => "groupName",
        /// Clustering or broadcasting.
        pub message_model: Option<MessageModel> => "messageModel",
        /// Subscriptions.
        pub subscription_data_set: Vec<SubscriptionData> => "subscriptionDataSet",
        /// Unit mode.
        pub unit_mode: bool => "unitMode",
    }
}

json_body! {
    /// A producer group of a client.
    pub struct ProducerData {
        /// Group.
        pub group_name: Option<String> => "groupName",
    }
}

json_body! {
    /// The body.
    pub struct HeartbeatData {
        /// Client.
        pub client_id: Option<String> => "clientID",
        /// Consumers.
        pub consumer_data_set: Vec<ConsumerData> => "consumerDataSet",
        /// Producers.
        pub producer_data_set: Vec<ProducerData> => "producerDataSet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_clients_write_is_understood() {
        let text = r#"{"clientID":"c","consumerDataSet":[{"groupName":"g","consumeType":1,"messageModel":"BROADCASTING","consumeFromWhere":"UNKNOWN","subscriptionDataSet":[{"topic":"T","subVersion":"17","codeSet":["1",2],"tagsSet":null}]},{"groupName":"pop","consumeType":"CONSUME_POP","subscriptionDataSet":null}],"producerDataSet":null,"heartbeatFingerprint":0}"#;
        let data = HeartbeatData::from_json(&Json::parse(text.as_bytes()).unwrap()).unwrap();
        let [first, second] = &data.consumer_data_set[..] else { panic!("{data:?}") };
        assert_eq!(first.consume_type, Some(ConsumeType::Passively));
        assert_eq!(first.message_model, Some(MessageModel::Broadcasting));
        assert_eq!(first.consume_from_where, None);
        let subscription = &first.subscription_data_set[0];
        assert_eq!((subscription.sub_version, &subscription.code_set[..]), (17, &[1, 2][..]));
        assert_eq!(subscription.expression_type.as_deref(), Some("TAG"));
        assert_eq!(second.consume_type, None);
        assert!(second.subscription_data_set.is_empty() && data.producer_data_set.is_empty());
    }
}
