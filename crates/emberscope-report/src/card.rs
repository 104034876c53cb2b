//! The card of a set of models: what they were made from, what they are worth, and how they decide.

use std::fmt::Write as _;

use emberscope::models::{Fitted, Learner, Models, ProblemModel, Unusual};

/// The card in Markdown.
pub fn card(models: &Models) -> String {
    let mut page = String::new();
    let manifest = &models.manifest;
    let _ = write!(
        page,
        "# Card of these models\n\nTrained by Emberscope {} on {} labelled runs ({} healthy) of {} workload families, with seed {}. `emberscope \
         train` writes this page.\n\n",
        manifest.emberscope_version,
        manifest.runs,
        manifest.healthy_runs,
        manifest.families.len(),
        manifest.seed,
    );
    let _ = writeln!(page, "Families: {}.\n", manifest.families.join(", "));
    page.push_str(
        "## What they are worth\n\nEach figure is of families that the model did not see: families are divided into parts, a model learns from all \
         parts but one, with its depth and its threshold chosen by cross-validation among those, and is judged on the one left \
         out. A run is called by its highest score. AP is the area under precision over recall. Which learner is used, and whether a model is kept at \
         all, was chosen by these very figures: those of the models that are kept are a little too good.\n\n",
    );
    comparison(&mut page, models);
    added(&mut page, models);
    if !manifest.without_model.is_empty() {
        page.push_str("\nThere is no model for these:\n\n");
        for (problem, why) in &manifest.without_model {
            let _ = writeln!(page, "- `{problem}`: {why}");
        }
    }
    page.push_str("\n## How they decide\n");
    for model in &models.problems {
        decisions(&mut page, model);
    }
    page.push_str("\n## What is usual\n\n");
    for model in &models.anomalies {
        let _ = writeln!(
            page,
            "An isolation forest of {} trees over {} numbers of the run, each as its distance from the median of healthy runs to their 2nd or \
             98th percentile; grown on {} runs, {} of them healthy. Its threshold is set so that about {:.0} % of healthy runs of other \
             workloads are above it.",
            model.forest.trees(),
            model.inputs.len(),
            model.runs,
            model.healthy_runs,
            model.false_alarm_rate * 100.0,
        );
    }
    if let Some(unusual) = &manifest.unusual {
        flagged(&mut page, unusual);
    }
    page.push_str(
        "\n## What they cannot do\n\nThey know the runs they were trained on. A problem that was not labelled, or a workload unlike all of these, \
         they do not know; where a run lies outside of what was seen in training, the finding says so. No model measures \
         what a problem costs.\n",
    );
    page
}

/// What forests of what is usual flag, by problem and strength.
fn flagged(page: &mut String, unusual: &Unusual) {
    let severe = unusual.severe();
    let _ = write!(
        page,
        "\nFlagged by forests and thresholds that saw neither the run's workload family nor any run with its problem: {} of {} healthy runs, {} of {} with one \
         problem of strength 4. By problem and strength:\n\n| problem | 1 | 2 | 3 | 4 |\n|---|---|---|---|---|\n",
        unusual.healthy.flagged, unusual.healthy.runs, severe.flagged, severe.runs,
    );
    for (problem, by_strength) in &unusual.problems {
        let _ = write!(page, "| {problem} |");
        for counted in by_strength {
            if counted.runs == 0 {
                page.push_str(" - |");
            } else {
                let _ = write!(page, " {}/{} |", counted.flagged, counted.runs);
            }
        }
        page.push('\n');
    }
}

fn comparison(page: &mut String, models: &Models) {
    page.push_str("| problem | runs | families |");
    for learner in Learner::ALL {
        let _ = write!(page, " {} F1 | AP |", learner.name());
    }
    page.push_str("\n|---|---|---|");
    page.push_str(&"---|---|".repeat(Learner::ALL.len()));
    page.push('\n');
    for (problem, compared) in &models.manifest.compared {
        let Some(any) = compared.values().next() else { continue };
        let _ = write!(page, "| {problem} | {} | {} |", any.runs_with, any.families_with);
        for learner in Learner::ALL {
            match compared.get(learner.name()) {
                Some(validated) => {
                    let _ = write!(page, " {:.2} | {:.2} |", validated.f1, validated.average_precision);
                }
                None => page.push_str(" - | - |"),
            }
        }
        page.push('\n');
    }
    page.push_str("| **mean** | | |");
    for learner in Learner::ALL {
        let of: Vec<_> =
            models.manifest.compared.values().filter_map(|compared| compared.get(learner.name())).collect();
        if of.is_empty() {
            page.push_str(" - | - |");
            continue;
        }
        let mean = |value: &dyn Fn(&emberscope::models::Validated) -> f64| {
            of.iter().map(|validated| value(validated)).sum::<f64>() / of.len() as f64
        };
        let _ = write!(page, " {:.3} | {:.3} |", mean(&|v| v.f1), mean(&|v| v.average_precision));
    }
    page.push('\n');
}

/// What models add to rules.
fn added(page: &mut String, models: &Models) {
    let all = &models.manifest.compared;
    let used = |problem: &str| models.problems.iter().find(|model| model.problem == problem).map(|model| model.learner);
    let of = |problem: &str| {
        let learner =
            used(problem).or_else(|| Learner::ALL.iter().copied().find(|of| all[problem].contains_key(of.name())))?;
        all[problem].get(learner.name())?.added
    };
    let known: Vec<(&str, emberscope::models::Added)> =
        all.keys().filter_map(|problem| Some((problem.as_str(), of(problem)?))).collect();
    if known.is_empty() {
        return;
    }
    let mean = |value: &dyn Fn(&emberscope::models::Added) -> f64| {
        known.iter().map(|(_, added)| value(added)).sum::<f64>() / known.len() as f64
    };
    let speaks = |problem: &str| models.problems.iter().any(|model| model.problem == problem && model.alone.is_some());
    let together =
        known.iter().map(|(problem, added)| if speaks(problem) { added.together_f1 } else { added.rules_f1 });
    let together = together.sum::<f64>() / known.len() as f64;
    let _ = write!(
        page,
        "\nA model speaks where rules are silent if that was seen to help on families that it did not see: 95 % of all that it calls is right, and \
         three quarters of what it calls where rules are silent, one run at least. On these problems rules alone reach a mean F1 of {:.3}, and \
         {together:.3} together with the models that may speak:\n\n| problem | rules F1 | together F1 | told rightly where rules are silent | wrongly |\n|---|---|---|---|---|\n",
        mean(&|added| added.rules_f1),
    );
    for (problem, added) in known.iter().filter(|(problem, _)| speaks(problem)) {
        let _ = writeln!(
            page,
            "| {problem} | {:.2} | {:.2} | {} | {} |",
            added.rules_f1, added.together_f1, added.right, added.wrong
        );
    }
}

fn decisions(page: &mut String, model: &ProblemModel) {
    let names: Vec<&str> = model.inputs.iter().map(|input| input.name.as_str()).collect();
    let alone = match model.alone {
        Some(alone) => format!(
            "told without a rule from {:.2} (in {} of the {} runs of families that it did not see where rules are silent, rightly)",
            alone.score, alone.right, alone.runs,
        ),
        None => "never told without a rule".to_owned(),
    };
    let _ = write!(
        page,
        "\n### {}\n\nA {} that judges each {}; called from a score of {:.2}, {alone}. F1 {:.2}, AP {:.2}.\n\n",
        model.problem,
        model.learner.name(),
        model.level,
        model.threshold,
        model.validated.f1,
        model.validated.average_precision,
    );
    match &model.fitted {
        Fitted::Tree(tree) => {
            let _ = write!(page, "```\n{}```\n", tree.to_text(&names));
        }
        Fitted::Forest(forest) => {
            let importances = forest.importances();
            let mut order: Vec<usize> = (0..importances.len()).collect();
            order.sort_by(|&a, &b| importances[b].total_cmp(&importances[a]));
            let _ = writeln!(page, "{} trees; what they look at most:\n", forest.trees().len());
            for &at in order.iter().take(8) {
                let _ = writeln!(page, "- `{}`: {:.0} %", names[at], importances[at] * 100.0);
            }
        }
    }
}
