//! Name servers found through an address server: one plain HTTP question,
//! `http://<domain>/rocketmq/<subgroup>`, whose answer's first line is the list. Brokers and clients
//! ask it; when, and what they do with the list, is theirs.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// First question after a start.
pub const FIRST: Duration = Duration::from_secs(10);
/// Between two questions.
pub const PERIOD: Duration = Duration::from_secs(120);
/// Limit of connecting, and of everything after it.
const LIMIT: Duration = Duration::from_secs(3);
/// Port of an address server whose domain names none.
const DEFAULT_PORT: &str = "8080";
/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The list that the address server `domain` (`host`, or `host:port`) tells under `subgroup`, as it
/// stands in the answer: not empty, and not checked any further. Takes 6 s at most for each address
/// of the host.
pub fn ask(domain: &str, subgroup: &str) -> Result<String, String> {
    let host =
        if domain.contains(':') { domain.to_owned() } else { format!("{domain}:{DEFAULT_PORT}") };
    let path = format!("/rocketmq/{subgroup}");
    let answer = get(&host, &path).map_err(|error| error.to_string())?;
    match body_of(&answer)?.lines().next().unwrap_or_default().trim() {
        "" => Err("its answer is empty".to_owned()),
        list => Ok(list.to_owned()),
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
                stream.write_all(request.as_bytes())?;
                return read_answer(&mut stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads to the end. The limit is for all of it: a server that sends a byte now and then keeps nobody.
fn read_answer(stream: &mut TcpStream) -> std::io::Result<String> {
    let deadline = Instant::now() + LIMIT;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while answer.len() < MAX_ANSWER_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut piece)? {
            0 => break,
            bytes => answer.extend_from_slice(&piece[..bytes]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
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
            ("SSH-2.0", Err("not HTTP")),
        ];
        for (answer, expected) in cases {
            let (domain, thread) = server(answer);
            match (ask(&domain, "mine"), expected) {
                (Ok(list), Ok(expected)) => assert_eq!(list, expected),
                (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
                (result, _) => panic!("{answer:?}: {result:?}"),
            }
            assert!(thread.join().unwrap().starts_with("GET /rocketmq/mine HTTP/1.0\r\n"));
        }
    }

    #[test]
    fn a_server_that_says_nothing_keeps_nobody() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let began = Instant::now();
        assert!(ask(&silent.local_addr().unwrap().to_string(), "nsaddr").is_err());
        assert!(began.elapsed() < 10 * LIMIT);
        assert!(ask("no.such.invalid", "nsaddr").is_err());
    }
}
