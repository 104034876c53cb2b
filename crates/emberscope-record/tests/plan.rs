//! What is planned for each machine and each wish.

#![expect(clippy::expect_used, reason = "a test stops where a promise is broken")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use emberscope_record::{Facts, Kernel, LogPlace, Options, OutFolder, Perf, Plan, PlanError, Profile, plan};

const LIGHT: &str = "sched:sched_switch,sched:sched_waking,sched:sched_wakeup_new,sched:sched_process_fork,\
                     sched:sched_process_exec,sched:sched_process_exit,sched:sched_migrate_task,irq:softirq_entry,\
                     irq:softirq_exit,irq:irq_handler_entry,irq:irq_handler_exit,block:block_rq_insert,\
                     block:block_rq_issue,block:block_rq_complete";
const MORE: &str = "exceptions:page_fault_user,net:net_dev_queue,net:netif_receive_skb,net:netif_rx,\
                    signal:signal_deliver,timer:hrtimer_expire_entry,syscalls:sys_enter_futex,syscalls:sys_exit_futex";

/// A machine with four CPUs where perf may do all, LTTng has no modules, and no daemon runs.
fn machine() -> Facts {
    Facts {
        cpus: 4,
        root: true,
        lttng: true,
        program: true,
        jar: Ok(PathBuf::from("/e.jar")),
        perf: Perf {
            installed: true,
            converts: true,
            capable: true,
            paranoid: Some(2),
            tracefs: true,
            events: format!("{LIGHT},{MORE}").split(',').map(str::to_owned).collect(),
            refused: None,
        },
        ..Facts::default()
    }
}

fn options() -> Options {
    Options::new("/r", ["spark-submit", "job.py"])
}

fn planned(facts: &Facts, options: &Options) -> Plan {
    plan(facts, options).expect("a plan")
}

fn perf(plan: &Plan) -> String {
    match &plan.kernel {
        Some(Kernel::Perf(perf)) => perf.record.to_string(),
        other => format!("{other:?}"),
    }
}

fn setup(plan: &Plan) -> Vec<String> {
    plan.sessions().flat_map(|session| &session.setup).map(ToString::to_string).collect()
}

#[test]
fn with_perf_both_sides_are_recorded_on_one_clock() {
    let plan = planned(&machine(), &options());
    assert_eq!(
        setup(&plan),
        [
            "lttng create emberscope-user --output=/r/.user.partial",
            "lttng enable-channel --userspace --session=emberscope-user --buffers-uid --discard --subbuf-size=262144 \
             --num-subbuf=4 emberscope",
            "lttng enable-event --userspace --session=emberscope-user --channel=emberscope 'emberscope:*'",
            "lttng add-context --userspace --session=emberscope-user --channel=emberscope --type=vpid --type=vtid \
             --type=procname",
            "lttng start emberscope-user",
        ]
    );
    assert_eq!(
        perf(&plan),
        format!(
            "perf record --output /r/.perf.data --clockid CLOCK_MONOTONIC --all-cpus --no-buildid --no-buildid-cache \
             --synth=no --mmap-pages=4096K --event {LIGHT}"
        )
    );
    assert_eq!(plan.daemon.map(|daemon| daemon.to_string()).as_deref(), Some("lttng-sessiond --no-kernel"));
    assert_eq!((plan.lacks, plan.event_log), (vec![], LogPlace::Ours));
    assert_eq!(
        plan.job.to_string(),
        "spark-submit --jars /e.jar --conf spark.plugins=io.emberscope.spark.EmberscopePlugin --conf \
         spark.eventLog.enabled=true --conf spark.eventLog.dir=file:///r/eventlog job.py"
    );
}

#[test]
fn a_daemon_that_answers_is_left_alone() {
    let plan = planned(&Facts { daemon: true, ..machine() }, &options());
    assert!(plan.daemon.is_none() && plan.user.is_some());
}

#[test]
fn lttngs_own_kernel_tracer_comes_first() {
    let facts = Facts { lttng_kernel: true, ..machine() };
    let plan = planned(&facts, &Options { profile: Profile::Full, ..options() });
    assert!(matches!(plan.kernel, Some(Kernel::Lttng(_))));
    assert_eq!(plan.daemon.as_ref().map(ToString::to_string).as_deref(), Some("lttng-sessiond"));
    let setup = setup(&plan).split_off(5);
    assert_eq!(setup.first().map(String::as_str), Some("lttng create emberscope-kernel --output=/r/.kernel.partial"));
    let kernel = "lttng enable-event --kernel --session=emberscope-kernel --channel=emberscope";
    assert!(
        setup.get(2).is_some_and(|line| line.starts_with(&format!("{kernel} sched_switch,sched_waking,"))),
        "{setup:?}"
    );
    assert_eq!(setup.get(3), Some(&format!("{kernel} --syscall futex")));
    assert!(setup.get(2).is_some_and(|line| line.ends_with("lttng_statedump_process_state")), "{setup:?}");
    let page = plan.shell();
    assert!(!page.contains("perf "), "{page}");
}

#[test]
fn each_thing_that_is_missing_is_said_with_what_would_help() {
    let good = machine().perf;
    let user = Perf { capable: false, ..good.clone() };
    let cases = [
        (Perf { installed: false, ..good.clone() }, "perf is not installed", "apt-get install linux-perf"),
        (user.clone(), "kernel.perf_event_paranoid is 2", "CAP_PERFMON"),
        (Perf { paranoid: None, ..user.clone() }, "kernel.perf_event_paranoid is unknown", "CAP_PERFMON"),
        (Perf { tracefs: false, ..good.clone() }, "list of tracepoints cannot be read", "mount -t tracefs"),
        (Perf { converts: false, ..good.clone() }, "without libbabeltrace", "apt-get install linux-perf"),
        (Perf { refused: Some("no permission".to_owned()), ..good.clone() }, "refused: no permission", "--privileged"),
    ];
    for (perf, why, remedy) in cases {
        let plan = planned(&Facts { perf, ..machine() }, &options());
        let [lack] = plan.lacks.as_slice() else { panic!("{:?}", plan.lacks) };
        assert!(plan.kernel.is_none() && plan.user.is_some());
        assert!(lack.why.contains(why) && lack.remedy.contains(remedy), "{lack}");
        assert!(
            lack.to_string().starts_with("not recorded: the kernel's events: LTTng's modules are not loaded, and ")
        );
        assert!(plan.shell().starts_with(&format!("# {lack}\n")));
    }
    let plan = planned(&Facts { perf: Perf { paranoid: Some(-1), ..user }, ..machine() }, &options());
    assert!(plan.kernel.is_some() && plan.lacks.is_empty());
}

#[test]
fn events_that_the_kernel_lacks_are_left_out_and_said() {
    let mut facts = machine();
    facts.perf.events.remove("sched:sched_waking");
    let plan = planned(&facts, &options());
    assert!(!perf(&plan).contains("sched_waking") && perf(&plan).contains("sched_wakeup_new"));
    assert_eq!(plan.lacks.first().map(|lack| lack.what.as_str()), Some("sched:sched_waking"));
}

#[test]
fn without_lttng_the_kernel_is_recorded_and_no_plugin_added() {
    let facts = Facts { lttng: false, jar: Err(vec![]), ..machine() };
    let plan = planned(&facts, &options());
    assert!(plan.user.is_none() && plan.kernel.is_some() && plan.daemon.is_none());
    assert!(!plan.job.to_string().contains("spark.plugins"));
    assert_eq!(plan.lacks.first().map(|lack| lack.remedy.as_str()), Some("apt-get install lttng-tools liblttng-ust1"));
}

#[test]
fn with_nothing_to_record_it_refuses_unless_that_is_asked_for() {
    let facts = Facts { lttng: false, perf: Perf::default(), ..machine() };
    let refused = plan(&facts, &options()).expect_err("nothing");
    let PlanError::Nothing(why) = &refused else { panic!("{refused}") };
    assert!(why.contains("lttng or lttng-sessiond is not installed") && why.contains("perf is not installed"), "{why}");
    assert!(matches!(plan(&facts, &Options { kernel: false, ..options() }), Err(PlanError::Nothing(_))));
    let plan = planned(&facts, &Options { kernel: false, user: false, ..options() });
    assert!(plan.user.is_none() && plan.kernel.is_none() && plan.event_log == LogPlace::Ours);
}

#[test]
fn what_is_wrong_before_the_start_is_refused() {
    let wrong = |facts: Facts| plan(&facts, &options()).expect_err("refused").to_string();
    assert_eq!(
        wrong(Facts { out: OutFolder::Taken, ..machine() }),
        "/r is there and not empty; a recording needs a folder of its own"
    );
    assert_eq!(wrong(Facts { program: false, ..machine() }), "spark-submit: no such program");
    let places = vec![PathBuf::from("/a.jar"), PathBuf::from("/b.jar")];
    let error = wrong(Facts { jar: Err(places), ..machine() });
    assert!(error.contains("/a.jar or /b.jar") && error.contains("make spark-plugin"), "{error}");
    let python = Options::new("/r", ["python", "job.py"]);
    let facts = Facts { submit_args: Some("--conf 'open".to_owned()), ..machine() };
    assert_eq!(plan(&facts, &python).expect_err("refused"), PlanError::SubmitArgs);
}

#[test]
fn a_ring_buffer_has_the_size_that_was_asked_for_and_writes_nothing_by_itself() {
    let options = Options { ring_buffer: Some(64 << 20), slow_after: Some(Duration::from_secs(9)), ..options() };
    let plan = planned(&machine(), &options);
    assert!(plan.ring && plan.slow_after == Some(Duration::from_secs(9)));
    // 64 MiB over 4 CPUs; Spark's events have an eighth of that, in four sub-buffers.
    let line = perf(&plan);
    assert!(line.contains("--overwrite --switch-output=signal --tail-synthesize --mmap-pages=16384K"), "{line}");
    let setup = setup(&plan);
    assert!(setup.iter().any(|line| line.contains("--overwrite --subbuf-size=524288 --num-subbuf=4")), "{setup:?}");
    assert!(setup.iter().any(|line| line.ends_with("--output=/r/.user.partial --snapshot")), "{setup:?}");
    let page = plan.shell();
    assert!(page.contains("lttng snapshot record --session emberscope-user") && page.contains("kill -USR2 $perf"));

    // What is no power of two is rounded down, and no buffer is below a page.
    let small = Options { ring_buffer: Some(100_000), ..options };
    let plan = planned(&machine(), &small);
    assert!(perf(&plan).contains("--mmap-pages=16K"), "{}", perf(&plan));
    assert!(
        plan.sessions().flat_map(|session| &session.setup).any(|line| line.to_string().contains("--subbuf-size=4096 "))
    );
}

#[test]
fn sizes_are_bounded_by_perf_itself_too() {
    let plan = planned(&machine(), &Options { max_size: Some(1 << 20), ..options() });
    assert!(perf(&plan).contains("--mmap-pages=512K --max-size=1048576B"), "{}", perf(&plan));
    let large = planned(&machine(), &Options { max_size: Some(1 << 30), ..options() });
    assert!(perf(&large).contains("--mmap-pages=4096K"), "{}", perf(&large));
    assert_eq!(plan.max_size, Some(1 << 20));
}

#[test]
fn profiles_and_samples_reach_the_commands() {
    let plan = planned(&machine(), &Options { profile: Profile::Full, sample: 8, ..options() });
    assert!(perf(&plan).ends_with(&format!("--event {LIGHT},{MORE}")));
    assert!(plan.job.to_string().contains("--conf spark.emberscope.sample=8"));
}

#[test]
fn a_dry_run_is_a_script() {
    let plan = planned(&machine(), &Options::new("/r r", ["python", "my job.py"]));
    let page = plan.shell();
    let lines: Vec<&str> = page.lines().collect();
    assert_eq!(lines.get(1), Some(&"mkdir -p '/r r/eventlog'"));
    assert_eq!(lines.get(2), Some(&"lttng-sessiond --no-kernel --daemonize"));
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("PYSPARK_SUBMIT_ARGS='--jars /e.jar ") && line.ends_with("'my job.py'"))
    );
    assert!(page.contains("spark.eventLog.dir=file:///r%20r/eventlog"), "{page}");
    assert!(lines.contains(&"perf data convert --input '/r r/.perf.data' --to-ctf '/r r/kernel'"), "{page}");
    assert_eq!(lines.last(), Some(&"kill $(pidof lttng-sessiond)"));
    let script = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(script.path(), &page).expect("written");
    assert!(parses(script.path()), "{page}");
}

/// Whether a shell takes a file for a script.
fn parses(script: &Path) -> bool {
    std::process::Command::new("sh").arg("-n").arg(script).status().is_ok_and(|status| status.success())
}
