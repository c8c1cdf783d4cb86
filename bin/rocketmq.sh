# What the commands of this directory share; it is read by them and not run by itself.
#
# ROCKETMQ_HOME is the directory above this one unless it is set. The programs are in libexec of an
# installed tree, or in target/release (else target/debug) of a checkout after `cargo build`.

script=$(readlink -f -- "$0") || exit 1
here=$(dirname -- "$(dirname -- "$script")")
ROCKETMQ_HOME=${ROCKETMQ_HOME:-$here}
export ROCKETMQ_HOME

# Prints the path of a program.
program() {
    for directory in "$here/libexec" "$here/target/release" "$here/target/debug"; do
        if [ -x "$directory/$1" ]; then
            printf '%s\n' "$directory/$1"
            return
        fi
    done
    echo "$1 is neither in $here/libexec nor built in $here/target: run cargo build --release" >&2
    return 1
}
