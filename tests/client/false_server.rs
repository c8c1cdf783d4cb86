//! Servers that answer as a test tells them to.

use std::sync::Arc;

use rocketmq::common::thread_pool::ThreadPool;
use rocketmq::remoting::config::ServerConfig;
use rocketmq::remoting::connection::{Connection, ReplyTo};
use rocketmq::remoting::server::RunningServer;
use rocketmq::remoting::{Command, Processor, RemotingServer};

const ROUTE: i32 = 105;

/// What a false server does with a request.
type Trick = dyn Fn(&ReplyTo, &Command) -> Option<Command> + Send + Sync;

struct False(Box<Trick>);

impl Processor for False {
    fn process(
        &self,
        connection: &Arc<Connection>,
        request: Command,
    ) -> Result<Option<Command>, Box<dyn std::error::Error + Send + Sync>> {
        Ok((self.0)(&ReplyTo::new(connection, &request), &request))
    }
}

/// A server of frames that answers as it is told.
pub fn false_server(
    trick: impl Fn(&ReplyTo, &Command) -> Option<Command> + Send + Sync + 'static,
) -> RunningServer {
    let config = ServerConfig { listen_port: 0, ..ServerConfig::default() };
    let mut server = RemotingServer::new("False", config);
    // One worker: what a client sends in turn is answered in turn.
    server.register_default(Arc::new(False(Box::new(trick))), ThreadPool::new("False", 1, 1000));
    server.start().unwrap()
}

pub fn addr(server: &RunningServer) -> String {
    format!("127.0.0.1:{}", server.local_addr().port())
}

/// A name server that knows one broker, at `broker`.
pub fn names(broker: &str) -> RunningServer {
    let route = format!(
        r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{broker}"}},"brokerName":"b","cluster":"c"}}],
           "filterServerTable":{{}},"queueDatas":[{{"brokerName":"b","perm":6,"readQueueNums":2,
           "topicSysFlag":0,"writeQueueNums":2}}]}}"#
    );
    false_server(move |_, request| {
        assert_eq!(request.code, ROUTE);
        Some(Command::response(0).with_body(route.clone().into_bytes()))
    })
}
