#!/bin/sh
# Run spark-rapids-tools' profiling on an event log: benches/rapids.sh LOG OUT_DIR
#
# Needs Java 17, and two environment variables:
#   RAPIDS_WHEEL  the wheel `pip download --no-deps spark-rapids-user-tools` brings (its jar is inside)
#   SPARK_HOME    the pyspark folder of an environment with pyspark 3.5.x (its jars are the class path)
# RAPIDS_JAVA_OPTS are options for Java (default -Xmx8g).
set -eu

if [ $# -ne 2 ]; then
    sed -n 's/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
: "${RAPIDS_WHEEL:?set it to the spark-rapids-user-tools wheel}"
: "${SPARK_HOME:?set it to the folder of pyspark 3.5}"

log=$(realpath "$1")
out=$2
cache=${XDG_CACHE_HOME:-$HOME/.cache}/emberscope-rapids
member=$(unzip -Z1 "$RAPIDS_WHEEL" '*/rapids-4-spark-tools_*.jar')
jar=$cache/$(basename "$member")
if [ ! -f "$jar" ]; then
    mkdir -p "$cache"
    unzip -q -o -j "$RAPIDS_WHEEL" "$member" -d "$cache"
fi

# shellcheck disable=SC2086 # several options in one variable
exec java ${RAPIDS_JAVA_OPTS:--Xmx8g} -cp "$jar:$SPARK_HOME/jars/*" \
    com.nvidia.spark.rapids.tool.profiling.ProfileMain --csv --output-directory "$out" "file:$log"
