#!/usr/bin/env bash
# Runs every fuzz target for some seconds: [FUZZ_SEED=N] tests/fuzz/run.sh SECONDS [TARGET...]
#
# Inputs that find new paths go to found/, so the corpus stays small. A crash leaves its input in artifacts/TARGET/;
# `cargo fuzz run --fuzz-dir tests/fuzz -s none TARGET tests/fuzz/artifacts/TARGET/FILE` shows it again.
# No sanitizer: the code is safe Rust but for the zstd library, and a stable toolchain can build it.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-5}
shift || true
# Longest time and most memory that one input may take.
input_seconds=10
input_mib=1024

if ! command -v g++ >/dev/null && ! command -v clang++ >/dev/null; then
  echo "A C++ compiler is missing, which libFuzzer is built with: apt-get install g++" >&2
  exit 1
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
  cargo install --quiet --locked cargo-fuzz
fi

target_dir=${CARGO_TARGET_DIR:-../../target}/fuzz
mkdir -p "$target_dir"
target_dir=$(cd "$target_dir" && pwd)
export CARGO_TARGET_DIR=$target_dir
cargo fuzz build --fuzz-dir . -s none 2>"$target_dir/build.log" || { tail -40 "$target_dir/build.log" >&2; exit 1; }
binaries=$(echo "$target_dir"/*/release)

run() {
  local target=$1
  mkdir -p "found/$target" "artifacts/$target"
  if ! "$binaries/$target" "found/$target" "corpus/$target" -artifact_prefix="artifacts/$target/" \
    -seed="${FUZZ_SEED:-1}" -max_total_time="$seconds" -timeout="$input_seconds" -rss_limit_mb="$input_mib" -max_len=65536 -verbosity=1 \
    >"$target_dir/$target.log" 2>&1; then
    echo "fuzz $target: failed"
    tail -30 "$target_dir/$target.log"
    return 1
  fi
  echo "fuzz $target: $(grep -ao 'Done [0-9]* runs in [0-9]* second(s)' "$target_dir/$target.log" | tail -1)"
}
export -f run
export binaries target_dir seconds input_seconds input_mib

targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(corpus/*)
printf '%s\n' "${targets[@]##*/}" | xargs -P "$(nproc)" -I{} bash -c 'run {}'
echo "fuzz: no crash"
