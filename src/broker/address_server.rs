//! Name servers found through an address server: with `fetchNamesrvAddrByAddressServer` and no
//! `namesrvAddr`, the broker asks `http://<domain>/rocketmq/<subgroup>` for the list.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use super::config::{BrokerConfig, namesrv_addr_problem};
use crate::common::service_thread::Signal;

/// First question after the start.
const FIRST: Duration = Duration::from_secs(10);
/// Between two questions.
const PERIOD: Duration = Duration::from_secs(120);
/// Limit for each step: connecting, writing, reading.
const LIMIT: Duration = Duration::from_secs(3);
/// Port of an address server whose domain names none.
const DEFAULT_PORT: &str = "8080";
/// Longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Asks again and again, until told to stop. A failure changes nothing: the list stays as it was.
pub fn run(broker: &Arc<Broker>, signal: &Signal) {
    let mut pause = FIRST;
    while signal.wait(pause) {
        pause = PERIOD;
        let config = broker.config.get();
        if !config.namesrv_addr.is_empty() || !config.fetch_namesrv_addr_by_address_server {
            continue;
        }
        match fetch(&config) {
            Ok(list) => {
                if let Err(error) = broker.registration.found(broker, &list) {
                    log::warn!("the name servers {list} are not taken over: {error}");
                }
            }
            Err(problem) => log::warn!(
                "the address server {} does not tell the name servers: {problem}; asked again within {} s",
                config.rmq_address_server_domain,
                PERIOD.as_secs()
            ),
        }
    }
}

/// The list that the address server tells: the first line of its answer's body.
fn fetch(config: &BrokerConfig) -> Result<String, String> {
    let domain = &config.rmq_address_server_domain;
    let host =
        if domain.contains(':') { domain.clone() } else { format!("{domain}:{DEFAULT_PORT}") };
    let path = format!("/rocketmq/{}", config.rmq_address_server_sub_group);
    let answer = get(&host, &path).map_err(|error| error.to_string())?;
    let list = body_of(&answer)?.lines().next().unwrap_or_default().trim();
    match namesrv_addr_problem(list) {
        _ if list.is_empty() => Err("its answer is empty".to_owned()),
        Some(problem) => Err(problem),
        None => Ok(list.to_owned()),
    }
}

/// One HTTP/1.0 request; the server closes at the end of its answer.
fn get(host: &str, path: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: text/plain\r\n\r\n");
    let mut last = std::io::Error::other("the name does not resolve");
    for addr in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&addr, LIMIT) {
            Ok(mut stream) => {
                stream.set_write_timeout(Some(LIMIT))?;
                stream.set_read_timeout(Some(LIMIT))?;
                stream.write_all(request.as_bytes())?;
                let mut answer = Vec::new();
                stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The body of a successful answer.
fn body_of(answer: &str) -> Result<&str, String> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .or_else(|| answer.split_once("\n\n"))
        .ok_or("its answer is not HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split_whitespace().nth(1) == Some("200") {
        Ok(body)
    } else {
        Err(format!("it answers \"{status}\""))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// An address server for one question.
    fn server(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let domain = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 1024];
            let length = stream.read(&mut question).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&question[..length]).into_owned()
        });
        (domain, thread)
    }

    #[test]
    fn the_first_line_of_the_answer_is_the_list() {
        let cases = [
            (
                "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n10.0.0.1:9876;10.0.0.2:9876\nmore\n",
                Ok("10.0.0.1:9876;10.0.0.2:9876"),
            ),
            ("HTTP/1.1 404 Not Found\r\n\r\n10.0.0.1:9876", Err("404")),
            ("HTTP/1.1 200 OK\r\n\r\n", Err("empty")),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", Err("host:port")),
            ("SSH-2.0", Err("not HTTP")),
        ];
        for (answer, expected) in cases {
            let (rmq_address_server_domain, thread) = server(answer);
            let config = BrokerConfig {
                rmq_address_server_domain,
                rmq_address_server_sub_group: "mine".to_owned(),
                ..BrokerConfig::default()
            };
            match (fetch(&config), expected) {
                (Ok(list), Ok(expected)) => assert_eq!(list, expected),
                (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
                (result, _) => panic!("{answer:?}: {result:?}"),
            }
            assert!(thread.join().unwrap().starts_with("GET /rocketmq/mine HTTP/1.0\r\n"));
        }
    }
}
