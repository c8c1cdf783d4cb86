//! [`NamesrvConfig`] and what may be changed of it remotely.

use std::path::PathBuf;

/// Keys that no remote update may set: they say which files are written.
pub const FIXED_KEYS: [&str; 4] =
    ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];

crate::config! {
    /// Settings of a name server. The port and the sockets are in
    /// [`ServerConfig`](crate::remoting::config::ServerConfig); one file sets both.
    pub struct NamesrvConfig {
        /// Installation directory.
        pub rocketmq_home: String = "rocketmqHome", "";
        /// Where KV entries are kept.
        pub kv_config_path: String = "kvConfigPath", in_user_home("namesrv/kvConfig.json");
        /// Where the configuration is written after a remote update; the `-c` file, if there is one.
        pub config_store_path: String =
            "configStorePath", in_user_home("namesrv/namesrv.properties");
        /// The environment that `clusterTest` asks, as the address server knows it.
        pub product_env_name: String = "productEnvName", "center";
        /// Routes that are not known here are asked for in another environment; read at start.
        pub cluster_test: bool = "clusterTest", false;
        /// Routes carry the order configuration of their topic.
        pub order_message_enable: bool = "orderMessageEnable", false;
        /// Keys that cannot be changed remotely, separated by semicolons; read at start.
        pub config_black_list: String =
            "configBlackList", "configBlackList;configStorePath;kvConfigPath";
    }
}

/// A path below `$HOME`, the working directory if that is not set.
fn in_user_home(path: &str) -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(path).to_string_lossy().into_owned()
}

impl NamesrvConfig {
    /// All keys that cannot be changed remotely.
    pub fn black_list(&self) -> Vec<String> {
        let configured = self.config_black_list.split(';').map(str::trim);
        configured.filter(|key| !key.is_empty()).chain(FIXED_KEYS).map(str::to_owned).collect()
    }
}
