//! Which request is served by which processor, in which pool, on which port.

use std::sync::Arc;

use super::pools::Pools;
use super::{
    Answer, Broker, admin, client_manage, consumer_manage, pull, query, recall, reply, send,
    send_back, transactions,
};
use crate::common::thread_pool::ThreadPool;
use crate::remoting::protocol::request_code as request;
use crate::remoting::server::ConnectionEvents;
use crate::remoting::{Command, Connection, Processor, RemotingServer};
use crate::store::config::BrokerRole;

/// V5_0_0_SNAPSHOT.
const FIRST_VERSION_OF_5: i32 = 412;

/// A row of the table of requests.
#[derive(Clone, Copy)]
struct Row {
    code: i32,
    process: fn(&Arc<Broker>, &Arc<Connection>, Command) -> Answer,
    pool: fn(&Pools) -> &Arc<ThreadPool>,
    is_short: fn(&Broker, &Command) -> bool,
    rejects: fn(&Broker) -> Option<String>,
    /// Served on the fast port too.
    on_fast_port: bool,
}

/// The requests that send.
const SENDS: [i32; 3] =
    [request::SEND_MESSAGE, request::SEND_MESSAGE_V2, request::SEND_BATCH_MESSAGE];

fn always_short(_: &Broker, _: &Command) -> bool {
    true
}

fn never_short(_: &Broker, _: &Command) -> bool {
    false
}

fn never_rejects(_: &Broker) -> Option<String> {
    None
}

/// Which request is served by whom, in which pool. Everything else goes to the administrators'
/// processor. A pull on the fast port is not served, as in Java.
fn rows() -> Vec<Row> {
    let row = |code, process, pool, is_short| Row {
        code,
        process,
        pool,
        is_short,
        rejects: never_rejects,
        on_fast_port: true,
    };
    let mut rows = Vec::new();
    for code in SENDS {
        rows.push(Row {
            rejects: send::rejects,
            ..row(code, send::process, |p| &p.send, send::is_short)
        });
    }
    let give_back = request::CONSUMER_SEND_MSG_BACK;
    rows.push(Row {
        rejects: send::rejects,
        ..row(give_back, send_back::process, |p| &p.send, never_short)
    });
    for code in [request::PULL_MESSAGE, request::LITE_PULL_MESSAGE] {
        rows.push(Row {
            on_fast_port: false,
            ..row(code, pull::process, |p| &p.pull, pull::is_short)
        });
    }
    for code in [request::SEND_REPLY_MESSAGE, request::SEND_REPLY_MESSAGE_V2] {
        rows.push(row(code, reply::process, |p| &p.reply, never_short));
    }
    rows.extend([
        row(request::RECALL_MESSAGE, recall::process, |p| &p.send, never_short),
        row(request::QUERY_MESSAGE, query::by_key, |p| &p.query, never_short),
        row(request::VIEW_MESSAGE_BY_ID, query::by_id, |p| &p.query, never_short),
        row(
            request::END_TRANSACTION,
            transactions::process,
            |p| &p.end_transaction,
            transactions::is_short,
        ),
        row(request::HEART_BEAT, client_manage::heartbeat, |p| &p.heartbeat, never_short),
        row(
            request::UNREGISTER_CLIENT,
            client_manage::unregister,
            |p| &p.client_manage,
            never_short,
        ),
        row(
            request::CHECK_CLIENT_CONFIG,
            client_manage::check_config,
            |p| &p.client_manage,
            always_short,
        ),
        row(
            request::GET_CONSUMER_LIST_BY_GROUP,
            consumer_manage::consumer_list,
            |p| &p.consumer_manage,
            always_short,
        ),
        row(
            request::QUERY_CONSUMER_OFFSET,
            consumer_manage::query_offset,
            |p| &p.consumer_manage,
            never_short,
        ),
        row(
            request::UPDATE_CONSUMER_OFFSET,
            consumer_manage::commit_offset,
            |p| &p.consumer_manage,
            always_short,
        ),
    ]);
    rows
}

/// Whether a client of 4.x sends a code that 5.x added, and nothing with it: it wants to know whether
/// the broker understands it, and is answered as by a broker of 4.9.
fn is_probe(request: &Command) -> bool {
    let added_by_5 = matches!(
        request.code,
        request::GET_BROKER_HA_STATUS
            | request::GET_TIMER_CHECK_POINT
            | request::GET_TIMER_METRICS
            | request::QUERY_TOPICS_BY_CONSUMER
            | request::QUERY_SUBSCRIPTION_BY_CONSUMER
            | request::GET_TOPIC_CONFIG
            | request::GET_SUBSCRIPTIONGROUP_CONFIG
            | request::LITE_PULL_MESSAGE
            | request::RECALL_MESSAGE
    );
    added_by_5 && request.version < FIRST_VERSION_OF_5 && request.fields.is_empty()
}

/// A row as the server calls it.
struct Serve {
    broker: Arc<Broker>,
    row: Row,
}

impl Processor for Serve {
    fn process(&self, connection: &Arc<Connection>, request: Command) -> Answer {
        if is_probe(&request) {
            return Ok(Some(admin::not_supported(request.code)));
        }
        (self.row.process)(&self.broker, connection, request)
    }

    fn rejects(&self, _request: &Command) -> Option<String> {
        (self.row.rejects)(&self.broker)
    }

    fn is_short(&self, request: &Command) -> bool {
        (self.row.is_short)(&self.broker, request)
    }

    /// A send waits for a slave little longer than for two threads to wake; a held pull waits for
    /// somebody to send.
    fn answers_soon(&self) -> bool {
        SENDS.contains(&self.row.code)
            && self.broker.store.config().broker_role == BrokerRole::SyncMaster
    }
}

/// What a closed connection means to the tables.
struct Closed(Arc<Broker>);

impl ConnectionEvents for Closed {
    fn closed(&self, connection: &Arc<Connection>) {
        client_manage::connection_closed(&self.0, connection);
    }
}

/// Registers all processors with the servers of both ports, and the tables' interest in closed
/// connections.
pub fn register(broker: &Arc<Broker>, main: &mut RemotingServer, fast: &mut RemotingServer) {
    let serve = |row| -> Arc<dyn Processor> { Arc::new(Serve { broker: Arc::clone(broker), row }) };
    for row in rows() {
        let pool = (row.pool)(&broker.pools);
        main.register(row.code, serve(row), Arc::clone(pool));
        if row.on_fast_port {
            fast.register(row.code, serve(row), Arc::clone(pool));
        }
    }
    let rest = Row {
        code: 0,
        process: admin::process,
        pool: |p| &p.admin,
        is_short: never_short,
        rejects: never_rejects,
        on_fast_port: true,
    };
    for server in [main, fast] {
        server.register_default(serve(rest), Arc::clone(&broker.pools.admin));
        server.on_close(Arc::new(Closed(Arc::clone(broker))));
    }
}
