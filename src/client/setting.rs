//! [`Setting`]: what setters of options take.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::{Interceptor, Interceptors, NameServerList};
use super::namespace::Namespace;
use super::offset_store::{OffsetStore, OffsetStores};

/// What a setter takes for an option of the type `T`: a `T`, or what becomes one without a doubt. Other than
/// `Into<T>` it lets a plain number be the number that the option wants.
///
/// ```
/// use rocketmq::client::{ClientOptions, ConsumerOptions};
///
/// let common = ClientOptions::default().unit_name("u1").read_from_broker(1);
/// assert_eq!((common.unit_name.as_deref(), common.read_from_broker), (Some("u1"), Some(1)));
/// let options = ConsumerOptions::new("billing").client(common).consume_threads(4);
/// assert_eq!(options.consume_threads, 4);
/// ```
pub trait Setting<T> {
    /// The value of the option.
    fn into_setting(self) -> T;
}

impl<T> Setting<T> for T {
    fn into_setting(self) -> T {
        self
    }
}

impl<T> Setting<Option<T>> for T {
    fn into_setting(self) -> Option<T> {
        Some(self)
    }
}

impl<S: OffsetStore + 'static> Setting<OffsetStores> for S {
    fn into_setting(self) -> OffsetStores {
        self.into()
    }
}

impl<T: Interceptor + 'static> Setting<Interceptors> for Arc<T> {
    fn into_setting(self) -> Interceptors {
        self.into()
    }
}

/// Settings that are made as `From` makes them.
macro_rules! settings {
    ($($target:ty : $($source:ty),*;)*) => {
        $($(impl Setting<$target> for $source {
            fn into_setting(self) -> $target {
                self.into()
            }
        })*)*
    };
}

settings! {
    String: &str, &String;
    PathBuf: &str, String, &Path;
    NameServerList: &str, &String, String, Vec<String>;
    Namespace: &str, String;
}

impl Setting<Option<String>> for &str {
    fn into_setting(self) -> Option<String> {
        Some(self.to_owned())
    }
}
