#!/usr/bin/env bash
# Everything that README.md of this folder describes, in one go: makes the logs when they are not there, then compares.
# Usage: benches/run.sh [PAIRS]. The first run takes about half an hour and downloads PySpark and spark-rapids-tools.
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=${1:-5}
venv=target/bench/venv
mkdir -p target/bench
if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet -r datasets/requirements.txt pyspark==3.5.9
fi
ls target/bench/spark_rapids_user_tools-*.whl >/dev/null 2>&1 ||
  "$venv/bin/pip" download --quiet --no-deps spark-rapids-user-tools==26.8.4 --dest target/bench
SPARK_HOME=$("$venv/bin/python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
RAPIDS_WHEEL=$(ls "$PWD"/target/bench/spark_rapids_user_tools-*.whl)
export SPARK_HOME RAPIDS_WHEEL
[ -e target/bench/big-300mb.zstd ] || "$venv/bin/python" benches/make_big_log.py --mb 300
[ -e target/bench/big-300mb-synthetic-x10 ] ||
  "$venv/bin/python" benches/make_big_log.py --repeat 10 --no-zstd target/bench/big-300mb
"$venv/bin/python" benches/compare.py --pairs "$pairs" target/bench/big-300mb target/bench/big-300mb.zstd
"$venv/bin/python" benches/compare.py --memory target/bench/big-300mb-synthetic-x10
