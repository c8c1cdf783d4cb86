//! Name servers: the KV table, write permissions of brokers, configuration.

use super::call::Call;
use super::{SubCommand, ToolResult, required};
use crate::common::property_text;

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[
    SubCommand {
        name: "updateKvConfig",
        purpose: "Create or update KV config",
        options: &[
            required('s', "namespace", "set the namespace"),
            required('k', "key", "set the key name"),
            required('v', "value", "set the key value"),
        ],
        run: update_kv_config,
    },
    SubCommand {
        name: "deleteKvConfig",
        purpose: "Delete KV config",
        options: &[
            required('s', "namespace", "set the namespace"),
            required('k', "key", "set the key name"),
        ],
        run: delete_kv_config,
    },
    SubCommand {
        name: "wipeWritePerm",
        purpose: "Wipe write perm of broker in all name server",
        options: &[required('b', "brokerName", "broker name")],
        run: wipe_write_perm,
    },
    SubCommand {
        name: "addWritePerm",
        purpose: "Add write perm of broker in all name server",
        options: &[required('b', "brokerName", "broker name")],
        run: add_write_perm,
    },
    SubCommand {
        name: "getNamesrvConfig",
        purpose: "Get configs of name server",
        options: &[],
        run: get_namesrv_config,
    },
    SubCommand {
        name: "updateNamesrvConfig",
        purpose: "Update configs of name server",
        options: &[required('k', "key", "config key"), required('v', "value", "config value")],
        run: update_namesrv_config,
    },
];

fn update_kv_config(call: &mut Call<'_>) -> ToolResult {
    let (namespace, key) = (call.required("namespace")?, call.required("key")?);
    call.admin.put_kv(&namespace, &key, &call.required("value")?)?;
    call.out.say("create or update kv config to namespace success.")?;
    Ok(())
}

fn delete_kv_config(call: &mut Call<'_>) -> ToolResult {
    call.admin.delete_kv(&call.required("namespace")?, &call.required("key")?)?;
    call.out.say("delete kv config from namespace success.")?;
    Ok(())
}

fn wipe_write_perm(call: &mut Call<'_>) -> ToolResult {
    let broker = call.required("brokerName")?;
    for addr in call.name_servers()? {
        let what = format!("wipe write perm of broker[{broker}] in name server[{addr}]");
        let failed = format!("{what} Failed");
        if let Some(topics) = call.attempt(&failed, |admin| admin.wipe_write_perm(&addr, &broker)) {
            call.out.say(format_args!("{what} OK, {topics}"))?;
        }
    }
    Ok(())
}

fn add_write_perm(call: &mut Call<'_>) -> ToolResult {
    let broker = call.required("brokerName")?;
    for addr in call.name_servers()? {
        let what = format!("add write perm of broker[{broker}] in name server[{addr}]");
        let failed = format!("{what} Failed");
        if let Some(topics) = call.attempt(&failed, |admin| admin.add_write_perm(&addr, &broker)) {
            call.out.say(format_args!("{what} OK, {topics}"))?;
        }
    }
    Ok(())
}

fn get_namesrv_config(call: &mut Call<'_>) -> ToolResult {
    for addr in call.name_servers()? {
        let lines = call.admin.name_server_config(&addr)?;
        call.out.decorate(format_args!("============{addr}============"))?;
        call.print_properties(&addr, &lines)?;
    }
    Ok(())
}

fn update_namesrv_config(call: &mut Call<'_>) -> ToolResult {
    let (key, value) = (call.required("key")?, call.required("value")?);
    let lines = property_text::print([(key.as_str(), value.clone())]);
    let addrs = call.name_servers()?;
    for addr in &addrs {
        call.admin.update_name_server_config(addr, &lines)?;
    }
    call.out.say(format_args!(
        "update name server config success![{}]\n{key} : {value}",
        addrs.join(", ")
    ))?;
    Ok(())
}
