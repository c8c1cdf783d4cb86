//! Configuration of both ends of a connection (Java's NettyServerConfig and NettyClientConfig).

crate::config! {
    /// A server's. Keys and defaults are Java's unless said otherwise.
    pub struct ServerConfig {
        /// Port; the broker sets 10911, the name server 9876 before the file is read.
        pub listen_port: u16 = "listenPort", 8888u16;
        /// Accepted, without effect: requests run on the pool of their kind.
        pub server_worker_threads: i32 = "serverWorkerThreads", 8;
        /// Accepted, without effect: callbacks run on the thread that learns the outcome.
        pub server_callback_executor_threads: i32 = "serverCallbackExecutorThreads", 0;
        /// Accepted, without effect: there is no selector.
        pub server_selector_threads: i32 = "serverSelectorThreads", 3;
        /// Oneway requests to one client that may be on their way.
        pub server_oneway_semaphore_value: i32 = "serverOnewaySemaphoreValue", 256;
        /// Asynchronous requests to clients that may wait for an answer.
        pub server_async_semaphore_value: i32 = "serverAsyncSemaphoreValue", 64;
        /// A connection without traffic for so long is closed, seconds.
        pub server_channel_max_idle_time_seconds: i32 = "serverChannelMaxIdleTimeSeconds", 120;
        /// SO_SNDBUF, 0 leaves it to the system.
        pub server_socket_snd_buf_size: i32 = "serverSocketSndBufSize", 0;
        /// SO_RCVBUF, 0 leaves it to the system.
        pub server_socket_rcv_buf_size: i32 = "serverSocketRcvBufSize", 0;
        /// Accepted, without effect: see `maxOutboxBytes`.
        pub write_buffer_high_water_mark: i32 = "writeBufferHighWaterMark", 0;
        /// Accepted, without effect.
        pub write_buffer_low_water_mark: i32 = "writeBufferLowWaterMark", 0;
        /// Listen backlog.
        pub server_socket_backlog: i32 = "serverSocketBacklog", 1024;
        /// Accepted, without effect: there is no buffer pool.
        pub server_pooled_byte_buf_allocator_enable: bool =
            "serverPooledByteBufAllocatorEnable", true;
        /// Accepted, without effect: there is no selector.
        pub use_epoll_native_selector: bool = "useEpollNativeSelector", false;
        /// Largest frame, bytes, its length field included (ours; Java has a system property).
        pub max_frame_bytes: i32 = "maxFrameBytes", 16_777_216;
        /// Connections at a time (ours).
        pub max_connections: i32 = "maxConnections", 10_000;
        /// Requests of one connection that may wait or run (ours).
        pub max_requests_in_flight: i32 = "maxRequestsInFlight", 65_536;
        /// Bytes waiting for a client that does not read; past it the connection is closed (ours).
        pub max_outbox_bytes: i64 = "maxOutboxBytes", 67_108_864i64;
        /// How long a thread that reads a connection looks for the next request before it sleeps,
        /// while that pays, µs; 0: it sleeps at once (ours).
        pub busy_poll_micros: i32 = "busyPollMicros", 50;
    }
}

/// Keys of [`ServerConfig`] that Java does not have. Listings for Java's tools name them only when
/// they were set.
pub const OWN_SERVER_KEYS: [&str; 5] =
    ["busyPollMicros", "maxConnections", "maxFrameBytes", "maxOutboxBytes", "maxRequestsInFlight"];

crate::config! {
    /// A client's.
    pub struct ClientConfig {
        /// Threads for callbacks and for requests from the server.
        pub client_worker_threads: i32 = "clientWorkerThreads", 4;
        /// Oneway requests on their way.
        pub client_oneway_semaphore_value: i32 = "clientOnewaySemaphoreValue", 65_535;
        /// Asynchronous requests that wait for an answer.
        pub client_async_semaphore_value: i32 = "clientAsyncSemaphoreValue", 65_535;
        /// Connect timeout, ms.
        pub connect_timeout_millis: i64 = "connectTimeoutMillis", 3000i64;
        /// A connection without traffic for so long is closed, seconds.
        pub client_channel_max_idle_time_seconds: i32 = "clientChannelMaxIdleTimeSeconds", 120;
        /// A synchronous call that times out closes its connection. Java's default is true; ours is
        /// false: a slow answer to one request does not fail the others.
        pub client_close_socket_if_timeout: bool = "clientCloseSocketIfTimeout", false;
        /// How long a caller looks for its answer before it sleeps, while that pays, µs; 0: it sleeps
        /// at once (ours).
        pub busy_poll_micros: i32 = "busyPollMicros", 50;
        /// Accepted, without effect: callbacks run on the worker threads.
        pub client_callback_executor_threads: i32 = "clientCallbackExecutorThreads", 4;
        /// Accepted, without effect: `clientChannelMaxIdleTimeSeconds` is what counts.
        pub channel_not_active_interval: i64 = "channelNotActiveInterval", 60_000i64;
        /// Accepted, without effect: the system chooses SO_SNDBUF.
        pub client_socket_snd_buf_size: i32 = "clientSocketSndBufSize", 0;
        /// Accepted, without effect: the system chooses SO_RCVBUF.
        pub client_socket_rcv_buf_size: i32 = "clientSocketRcvBufSize", 0;
        /// Accepted, without effect: there is no buffer pool.
        pub client_pooled_byte_buf_allocator_enable: bool =
            "clientPooledByteBufAllocatorEnable", false;
        /// Accepted, without effect: connections are not encrypted.
        pub use_tls: bool = "useTLS", false;
    }
}
