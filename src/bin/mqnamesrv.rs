//! `mqnamesrv`: the name server. Reads its options and files, runs until a signal comes.

use std::process::exit;

use rocketmq::common::command_line::{
    Arguments, EXIT_FAILED, EXIT_USAGE, OptionSpec, StopSignal, load_settings, rocketmq_home,
    start_logging, usage,
};
use rocketmq::common::config::ConfigStruct;
use rocketmq::common::os;
use rocketmq::namesrv::{Namesrv, NamesrvConfig};
use rocketmq::remoting::config::ServerConfig;

const OPTIONS: [OptionSpec; 4] = [
    OptionSpec {
        short: 'c',
        long: "configFile",
        value: Some("arg"),
        what: "Name server config properties file",
    },
    OptionSpec { short: 'h', long: "help", value: None, what: "Print help" },
    OptionSpec {
        short: 'n',
        long: "namesrvAddr",
        value: Some("arg"),
        what: "Accepted, without effect: name servers do not know each other",
    },
    OptionSpec { short: 'p', long: "printConfigItem", value: None, what: "Print all config items" },
];

/// Java's port for name servers.
const DEFAULT_PORT: u16 = 9876;

/// Arenas of the allocator: each keeps what a large registration once took.
const ALLOCATOR_ARENAS: i32 = 2;

fn main() {
    os::limit_allocator_arenas(ALLOCATOR_ARENAS);
    os::raise_open_files_limit();
    let arguments =
        Arguments::parse(&OPTIONS, std::env::args_os().skip(1)).unwrap_or_else(|problem| {
            eprintln!("{problem}");
            leave(EXIT_USAGE)
        });
    if arguments.has("help") {
        leave(0);
    }
    let (config, server_config) = configure(&arguments);
    if arguments.has("printConfigItem") {
        for (key, value) in config.entries().into_iter().chain(server_config.entries()) {
            println!("{key}={value}");
        }
        return;
    }
    start_logging("namesrv.log");
    exit(run(config, server_config));
}

/// Prints the usage and ends.
fn leave(code: i32) -> ! {
    print!("{}", usage("mqnamesrv [-c <arg>] [-h] [-n <arg>] [-p] [key=value ...]", &OPTIONS));
    exit(code)
}

/// Defaults, then the file, then the words of the command line.
fn configure(arguments: &Arguments) -> (NamesrvConfig, ServerConfig) {
    let mut config = NamesrvConfig::default();
    let mut server_config = ServerConfig { listen_port: DEFAULT_PORT, ..ServerConfig::default() };
    if let Some(home) = rocketmq_home() {
        config.rocketmq_home = home.to_string_lossy().into_owned();
    }
    let file = arguments.value("configFile");
    if let Err(error) = load_settings(file, arguments, &mut [&mut config, &mut server_config]) {
        eprintln!("{error}");
        exit(EXIT_FAILED);
    }
    if let Some(file) = file {
        config.config_store_path = file.to_owned();
        println!("load config properties file OK, {file}");
    }
    (config, server_config)
}

fn run(config: NamesrvConfig, server_config: ServerConfig) -> i32 {
    let signal = StopSignal::install();
    let started = Namesrv::start(config, server_config);
    let (signal, namesrv) = match (signal, started) {
        (Ok(signal), Ok(namesrv)) => (signal, namesrv),
        (Err(error), _) => return failed(&error),
        (_, Err(error)) => return failed(&error),
    };
    let boot = format!(
        "The Name Server boot success. serializeType=JSON, address {}",
        namesrv.local_addr()
    );
    log::info!("{boot}");
    println!("{boot}");
    let code = signal.wait();
    log::info!("a signal came: shutting down");
    namesrv.stop();
    code
}

fn failed(error: &dyn std::error::Error) -> i32 {
    log::error!("the name server does not start: {error}");
    EXIT_FAILED
}
