//! `mqbroker`: the broker. Reads its options and files, runs until a signal comes. With
//! `--standalone` a name server runs in the same process, and nothing needs to be configured.

use std::path::Path;
use std::process::exit;

use rocketmq::broker::startup::{self, Configuration, StartError};
use rocketmq::common::command_line::{
    Arguments, EXIT_FAILED, EXIT_USAGE, OptionSpec, StopSignal, load_settings, rocketmq_home,
    start_logging, usage,
};
use rocketmq::common::config::{ConfigStruct, DynConfig, Entry, PropertyFile};
use rocketmq::common::os;
use rocketmq::namesrv::Namesrv;
use rocketmq::remoting::config::ServerConfig;
use rocketmq::standalone::start_name_server;

const OPTIONS: [OptionSpec; 8] = [
    OptionSpec {
        short: 'c',
        long: "configFile",
        value: Some("arg"),
        what: "Broker config properties file",
    },
    OptionSpec { short: 'h', long: "help", value: None, what: "Print help" },
    OptionSpec {
        short: 'm',
        long: "printImportantConfig",
        value: None,
        what: "Print important config items",
    },
    OptionSpec {
        short: 'n',
        long: "namesrvAddr",
        value: Some("arg"),
        what: "Name server address list, eg: '192.168.0.1:9876;192.168.0.2:9876'",
    },
    OptionSpec { short: 'p', long: "printConfigItem", value: None, what: "Print all config items" },
    OptionSpec {
        short: 'a',
        long: "standalone",
        value: None,
        what: "Run a name server in the same process; nothing else is needed",
    },
    OptionSpec {
        short: 's',
        long: "store",
        value: Some("dir"),
        what: "Where messages are stored (with --standalone: ./store unless given)",
    },
    OptionSpec {
        short: 'P',
        long: "namesrvPort",
        value: Some("port"),
        what: "Port of the name server of --standalone, 9876 unless given; 0 picks one",
    },
];

const CALL: &str = "mqbroker [-c <arg>] [-h] [-m] [-n <arg>] [-p] [--standalone [--store <dir>]] \
                    [key=value ...]";

/// Java's port for brokers.
const DEFAULT_PORT: u16 = 10911;
/// Java's port for name servers.
const DEFAULT_NAMESRV_PORT: u16 = 9876;
/// Exit code of a configuration that contradicts itself, and of damaged files; a shell shows 253.
const EXIT_NOT_INITIALIZED: i32 = -3;
/// Arenas of the allocator. A put that waits for a slave or the disk is allocated by one thread and
/// freed by another: with two arenas a thousand senders wait for them, with more than eight nothing is
/// gained, and unused ones cost no memory.
const ALLOCATOR_ARENAS: i32 = 8;

/// What `-m` prints: Java's choice.
const IMPORTANT: [&str; 35] = [
    "namesrvAddr",
    "brokerIP1",
    "brokerName",
    "brokerClusterName",
    "brokerId",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
    "msgTraceTopicName",
    "traceTopicEnable",
    "rejectTransactionMessage",
    "fetchNamesrvAddrByAddressServer",
    "transactionTimeOut",
    "transactionCheckMax",
    "transactionCheckInterval",
    "aclEnable",
    "storePathRootDir",
    "storePathCommitLog",
    "storePathDLedgerCommitLog",
    "flushIntervalCommitLog",
    "commitIntervalCommitLog",
    "flushCommitLogTimed",
    "deleteWhen",
    "fileReservedTime",
    "maxTransferBytesOnMessageInMemory",
    "maxTransferCountOnMessageInMemory",
    "maxTransferBytesOnMessageInDisk",
    "maxTransferCountOnMessageInDisk",
    "accessMessageInMemoryMaxRatio",
    "messageIndexEnable",
    "messageIndexSafe",
    "haMasterAddress",
    "brokerRole",
    "flushDiskType",
    "cleanFileForciblyEnable",
    "transientStorePoolEnable",
];

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
    let mut configuration = configure(&arguments);
    let all = arguments.has("printConfigItem");
    if all || arguments.has("printImportantConfig") {
        // What depends on this machine is printed as it would be used, and nothing is started.
        if let Err(error) = startup::complete(&mut configuration) {
            exit(failed(&error));
        }
        print_items(&configuration, all);
        return;
    }
    start_logging("broker.log");
    exit(run(&arguments, configuration));
}

/// Prints the usage and ends.
fn leave(code: i32) -> ! {
    print!("{}", usage(CALL, &OPTIONS));
    exit(code)
}

/// Defaults, then the file, then the words of the command line, then the options.
fn configure(arguments: &Arguments) -> Configuration {
    let mut configuration = Configuration {
        server: ServerConfig { listen_port: DEFAULT_PORT, ..ServerConfig::default() },
        ..Configuration::default()
    };
    if let Some(home) = rocketmq_home() {
        configuration.broker.rocketmq_home = home.to_string_lossy().into_owned();
    }
    if arguments.has("standalone") {
        configuration.store.store_path_root_dir = "store".to_owned();
    }
    let file = arguments.value("configFile");
    let mut targets: [&mut dyn DynConfig; 4] = [
        &mut configuration.broker,
        &mut configuration.server,
        &mut configuration.client,
        &mut configuration.store,
    ];
    let loaded = load_settings(file, arguments, &mut targets);
    let known: Vec<&str> = targets.iter().flat_map(|target| target.key_names()).collect();
    if let Err(error) = loaded {
        eprintln!("{error}");
        exit(EXIT_FAILED);
    }
    if let Some(file) = file {
        configuration.unknown = unknown_entries(Path::new(file), &known);
        configuration.file = Some(file.into());
        println!("load config properties file OK, {file}");
    }
    if let Some(list) = arguments.value("namesrvAddr") {
        configuration.broker.namesrv_addr = list.to_owned();
    }
    if let Some(folder) = arguments.value("store") {
        configuration.store.store_path_root_dir = folder.to_owned();
    }
    configuration
}

/// What stands in the file and belongs to nobody: administrators see it all the same.
fn unknown_entries(file: &Path, known: &[&str]) -> Vec<Entry> {
    let mut entries = PropertyFile::load(file).map(|file| file.entries).unwrap_or_default();
    entries.retain(|entry| !known.contains(&entry.key.as_str()));
    entries
}

fn print_items(configuration: &Configuration, all: bool) {
    let groups = [
        configuration.broker.entries(),
        configuration.server.entries(),
        configuration.client.entries(),
        configuration.store.entries(),
    ];
    for (key, value) in groups.into_iter().flatten() {
        if all || IMPORTANT.contains(&key) {
            println!("{key}={value}");
        }
    }
}

fn run(arguments: &Arguments, mut configuration: Configuration) -> i32 {
    let signal = match StopSignal::install() {
        Ok(signal) => signal,
        Err(error) => return failed(&error),
    };
    let namesrv = match start_namesrv(arguments, &mut configuration) {
        Ok(namesrv) => namesrv,
        Err(error) => return failed(&*error),
    };
    let store = configuration.store.store_path_root_dir.clone();
    let broker = match startup::start(configuration) {
        Ok(broker) => broker,
        Err(error @ (StartError::Config(_) | StartError::Load(_))) => {
            failed(&error);
            return EXIT_NOT_INITIALIZED;
        }
        Err(error) => return failed(&error),
    };
    let boot = broker.boot_line();
    log::info!("{boot}");
    println!("{boot}");
    if let Some(namesrv) = &namesrv {
        let namesrv = format!("127.0.0.1:{}", namesrv.local_addr().port());
        println!(
            "ready: name server {namesrv}, broker port {} (fast port {}), advertised as {} ({}), \
             store in {store}\ntry: mqadmin sendMessage -n {namesrv} -t TopicTest -p hello\n     \
             mqadmin consumeMessage -n {namesrv} -t TopicTest",
            broker.main_addr().port(),
            broker.fast_addr().port(),
            broker.broker.store_host,
            broker.address_reason,
        );
    }
    let code = signal.wait();
    log::info!("a signal came: shutting down");
    broker.shutdown();
    if let Some(namesrv) = namesrv {
        namesrv.stop();
    }
    code
}

/// The name server of `--standalone`, at which the broker will register.
fn start_namesrv(
    arguments: &Arguments,
    configuration: &mut Configuration,
) -> Result<Option<Namesrv>, Box<dyn std::error::Error>> {
    if !arguments.has("standalone") {
        return Ok(None);
    }
    let port = match arguments.value("namesrvPort") {
        None => DEFAULT_NAMESRV_PORT,
        Some(text) => text
            .parse()
            .map_err(|_| format!("namesrvPort is \"{text}\", expected a port from 0 to 65535"))?,
    };
    Ok(Some(start_name_server(configuration, port)?))
}

fn failed(error: &dyn std::error::Error) -> i32 {
    log::error!("the broker does not start: {error}");
    eprintln!("the broker does not start: {error}");
    EXIT_FAILED
}
