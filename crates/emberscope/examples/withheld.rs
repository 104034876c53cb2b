//! How many severe runs a forest of what is usual flags that saw no run with their problem, nor their workload.
//!
//! `withheld LABELS`: for each problem a forest learns from the training runs that do not have it, and is shown the judged ones that do.

#![allow(clippy::print_stdout, reason = "a program whose output is what it prints")]

use std::error::Error;
use std::path::Path;

use emberscope::BatchOptions;
use emberscope::evaluate::{STRENGTHS, read_labels};
use emberscope::models::{ObservedRun, TrainOptions, observe, usual};
use emberscope_rules::Problem;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("withheld LABELS")?;
    let observed = observe(&read_labels(Path::new(&path))?, &BatchOptions::default())?;
    let (judged, training): (Vec<ObservedRun>, Vec<ObservedRun>) =
        observed.into_iter().partition(|run| run.label.split == "judged");
    let options = TrainOptions::default();
    let strengths: Vec<String> = (1..=STRENGTHS).map(|strength| format!("{strength:>6}")).collect();
    println!("Flagged of judged runs, by forests of training runs without the problem\n");
    println!("{:<22} {}", "problem", strengths.concat());
    let mut sums = vec![(0, 0); usize::from(STRENGTHS)];
    for &problem in Problem::ALL {
        let of_problem: Vec<&ObservedRun> =
            judged.iter().filter(|run| run.label.problems.contains_key(&problem)).collect();
        let others: Vec<ObservedRun> =
            training.iter().filter(|run| !run.label.problems.contains_key(&problem)).cloned().collect();
        let Some(model) = usual(&others, &options)?.filter(|_| !of_problem.is_empty()) else { continue };
        let mut counts = vec![(0, 0); usize::from(STRENGTHS)];
        for run in of_problem {
            let place = usize::from(run.label.problems[&problem].strength) - 1;
            counts[place].0 += u32::from(model.stands_out(run)?);
            counts[place].1 += 1;
        }
        println!("{:<22} {}", problem.name(), cells(&counts));
        sums.iter_mut().zip(&counts).for_each(|(sum, own)| *sum = (sum.0 + own.0, sum.1 + own.1));
    }
    println!("{:<22} {}", "all", cells(&sums));
    if let Some(&(flagged, of)) = sums.last() {
        println!("\nOf severe runs {:.0} % are flagged.", 100.0 * f64::from(flagged) / f64::from(of.max(1)));
    }
    if let Some(model) = usual(&training, &options)? {
        let mut healthy = (0, 0);
        for run in judged.iter().filter(|run| run.label.healthy()) {
            healthy = (healthy.0 + u32::from(model.stands_out(run)?), healthy.1 + 1);
        }
        println!("Of {} healthy runs {} are flagged, by a forest of all training runs.", healthy.1, healthy.0);
    }
    Ok(())
}

fn cells(counts: &[(u32, u32)]) -> String {
    let cell = |&(flagged, of): &(u32, u32)| if of == 0 { "-".to_owned() } else { format!("{flagged}/{of}") };
    counts.iter().map(|count| format!("{:>6}", cell(count))).collect::<Vec<String>>().concat()
}
