//! Frames of Java stacks and Python tracebacks, and whose code they are.

use super::Frame;

/// Packages of the platform: Java, Scala, Spark and what it stands on.
const PLATFORM: &[&str] = &[
    "java.",
    "javax.",
    "jdk.",
    "sun.",
    "com.sun.",
    "scala.",
    "kotlin.",
    "akka.",
    "org.apache.spark.",
    "org.apache.hadoop.",
    "org.apache.pekko.",
    "py4j.",
    "io.netty.",
    "org.jboss.netty.",
    "com.databricks.",
    "com.nvidia.spark.",
    "ai.rapids.",
    "org.sparkproject.",
    "GeneratedClass",
    "org.codehaus.janino.",
    "org.codehaus.commons.",
];
/// Packages of well-known libraries: what called them says more.
const LIBRARIES: &[&str] = &[
    "org.apache.parquet.",
    "org.apache.orc.",
    "org.apache.avro.",
    "org.apache.hive.",
    "org.apache.commons.",
    "org.apache.kafka.",
    "org.apache.iceberg.",
    "org.apache.hudi.",
    "org.apache.arrow.",
    "org.apache.http.",
    "org.apache.zookeeper.",
    "org.apache.curator.",
    "org.apache.thrift.",
    "org.apache.log4j.",
    "org.apache.logging.",
    "io.delta.",
    "com.google.common.",
    "com.google.protobuf.",
    "com.google.cloud.",
    "com.google.gson.",
    "com.fasterxml.",
    "com.esotericsoftware.",
    "com.twitter.chill.",
    "com.amazonaws.",
    "software.amazon.",
    "com.azure.",
    "com.microsoft.",
    "com.mysql.",
    "org.postgresql.",
    "oracle.jdbc.",
    "net.snowflake.",
    "org.mariadb.",
    "com.datastax.",
    "org.elasticsearch.",
    "org.json4s.",
    "org.slf4j.",
    "org.xerial.",
    "net.jpountz.",
    "com.github.luben.",
    "breeze.",
    "shapeless.",
    "cats.",
    "org.antlr.",
    "org.joda.",
    "okhttp3.",
    "com.univocity.",
    "net.razorvine.",
    "org.jpmml.",
    "ml.dmlc.",
];
/// Parts of paths of files that are Python's own, PySpark's, or of an installed package.
const PYTHON_LIBRARIES: &[&str] = &[
    "/pyspark/",
    "pyspark.zip",
    "/py4j",
    "site-packages",
    "dist-packages",
    "<frozen ",
    "/lib/python",
    "/lib64/python",
    "<string>",
    "<__array_function__",
    "\\Lib\\",
];

/// The frame of a line `\tat package.Class.method(File.scala:12)`; `None` for any other line. Frames of suppressed
/// exceptions, which are indented twice, are no frames of the cause.
pub(super) fn java_frame(line: &str) -> Option<Frame> {
    let rest = match line.strip_prefix('\t') {
        Some(rest) => rest.strip_prefix("at ")?,
        None => line.trim_start_matches(' ').strip_prefix("at ")?,
    };
    let open = rest.find('(')?;
    let (path, place) = (rest.get(..open)?, rest.get(open..)?);
    if path.is_empty() || path.contains(' ') || !path.contains('.') || !place.ends_with(')') && !place.contains(") ~[")
    {
        return None;
    }
    // `java.base/java.lang.Thread.run`, `app//com.acme.Main.run`: the module is of no interest.
    let name = path.rsplit('/').next().unwrap_or(path);
    let text = match place.split_once(')') {
        Some((place, _)) => format!("{name}{place})"),
        None => format!("{name}{place}"),
    };
    let own = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    Some(Frame { text, user: !own(PLATFORM) && !own(LIBRARIES) })
}

/// The frame of a line `  File "/app/job.py", line 12, in parse`; `None` for any other line.
pub(super) fn python_frame(line: &str) -> Option<Frame> {
    let rest = line.trim_start().strip_prefix("File \"")?;
    let (path, rest) = rest.split_once("\", line ")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(digits);
    if number.is_empty() {
        return None;
    }
    let text = match rest.strip_prefix(", in ") {
        Some(function) => format!("{path}:{number} in {function}"),
        None => format!("{path}:{number}"),
    };
    Some(Frame { text, user: !PYTHON_LIBRARIES.iter().any(|part| path.contains(part)) })
}
