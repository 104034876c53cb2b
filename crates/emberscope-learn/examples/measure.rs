//! Measures the models on files of numpy: `measure outliers FOLDER [SEEDS]`, `measure forest X.npy`,
//! `measure tree X.npy Y.npy DEPTH [LEARNER]`.
//!
//! `outliers` prints the area under the receiver operating characteristic of an isolation forest on each labelled set of a folder
//! (arrays `X` and `y` in `.npz` files), its mean and standard deviation over seeds. `forest` and `tree` print the seconds
//! that fitting and scoring take, of one table that is read before; `tree` also those of `linfa-trees` or `smartcore`.
//! `export X.npy Y.npy FOLDER` writes models as ONNX, and beside each what it says of the rows (`NAME.npy`).

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use emberscope_learn::metrics::roc_auc;
use emberscope_learn::{DecisionTreeParams, IsolationForestParams, RandomForestParams};
use linfa::DatasetBase;
use linfa::prelude::{Fit, Predict};
use ndarray::{Array1, Array2, s};
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::tree::decision_tree_classifier::{DecisionTreeClassifier, DecisionTreeClassifierParameters};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[expect(clippy::print_stdout, reason = "it is a command")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["outliers", folder] => outliers(Path::new(folder), 10),
        ["outliers", folder, seeds] => outliers(Path::new(folder), seeds.parse()?),
        ["forest", rows] => {
            let rows = read_table(rows)?;
            let start = Instant::now();
            let forest = IsolationForestParams::default().fit(&rows)?;
            let fitted = start.elapsed();
            let start = Instant::now();
            let scores = forest.scores(&rows)?;
            println!(
                "fit_s {:.4} score_s {:.4} mean {:.6}",
                fitted.as_secs_f64(),
                start.elapsed().as_secs_f64(),
                scores.mean().unwrap_or(f64::NAN)
            );
            Ok(())
        }
        ["tree", rows, answers, depth] => tree("ours", &read_table(rows)?, &read_answers(answers)?, depth.parse()?),
        ["tree", rows, answers, depth, learner] => {
            tree(learner, &read_table(rows)?, &read_answers(answers)?, depth.parse()?)
        }
        ["export", rows, answers, folder] => export(&read_table(rows)?, &read_answers(answers)?, Path::new(folder)),
        _ => Err("measure outliers FOLDER [SEEDS] | forest X.npy | tree X.npy Y.npy DEPTH [LEARNER] | export X.npy Y.npy FOLDER"
            .into()),
    }
}

/// Fits a tree to the first half of the rows and judges it on the second; a depth is the number of splits on a path.
#[expect(clippy::print_stdout, reason = "it is a command")]
fn tree(learner: &str, rows: &Array2<f64>, answers: &Array1<bool>, depth: u16) -> Result<()> {
    let half = rows.nrows() / 2;
    let (known, asked) = (rows.slice(s![..half, ..]).to_owned(), rows.slice(s![half.., ..]).to_owned());
    let told = answers.slice(s![..half]).to_owned();
    let (fitted, said): (Duration, Vec<bool>) = match learner {
        "ours" => {
            let params = DecisionTreeParams { max_depth: depth.into(), ..DecisionTreeParams::default() };
            let start = Instant::now();
            let tree = params.fit(&known, &told)?;
            (start.elapsed(), tree.probabilities(&asked)?.iter().map(|p| *p > 0.5).collect())
        }
        "linfa-trees" => {
            let params = linfa_trees::DecisionTree::params().max_depth(Some(depth.into()));
            let dataset = DatasetBase::new(known, told);
            let start = Instant::now();
            let tree: linfa_trees::DecisionTree<f64, bool> = params.fit(&dataset)?;
            let fitted = start.elapsed();
            let said: Array1<bool> = tree.predict(&asked);
            (fitted, said.to_vec())
        }
        "smartcore" => {
            let matrix = |rows: &Array2<f64>| {
                DenseMatrix::new(rows.nrows(), rows.ncols(), rows.iter().copied().collect(), false)
            };
            let classes: Vec<u32> = told.iter().map(|&answer| u32::from(answer)).collect();
            // It counts the root as a level.
            let params = DecisionTreeClassifierParameters::default().with_max_depth(depth + 1);
            let (known, asked) = (matrix(&known)?, matrix(&asked)?);
            let start = Instant::now();
            let tree = DecisionTreeClassifier::<f64, u32, _, Vec<u32>>::fit(&known, &classes, params)?;
            (start.elapsed(), tree.predict(&asked)?.into_iter().map(|class| class == 1).collect())
        }
        other => return Err(format!("{other}: ours, linfa-trees or smartcore").into()),
    };
    let right = said.iter().zip(answers.iter().skip(half)).filter(|(said, answer)| said == answer).count();
    println!("fit_s {:.4} accuracy {:.5}", fitted.as_secs_f64(), right as f64 / said.len() as f64);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is a command")]
fn outliers(folder: &Path, seeds: u64) -> Result<()> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "npz"));
    paths.sort();
    println!("dataset,n,d,full_auc_mean,full_auc_std,seconds");
    for path in paths {
        let (rows, answers) = read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let start = Instant::now();
        let areas: Vec<f64> = (0..seeds)
            .map(|seed| {
                let params = IsolationForestParams { seed, ..IsolationForestParams::default() };
                let scores = params.fit(&rows)?.scores(&rows)?;
                Ok(roc_auc(&scores.to_vec(), &answers).unwrap_or(f64::NAN))
            })
            .collect::<Result<_>>()?;
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        let spread = (areas.iter().map(|area| (area - mean).powi(2)).sum::<f64>() / areas.len() as f64).sqrt();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let seconds = start.elapsed().as_secs_f64();
        println!("{name},{},{},{mean:.4},{spread:.4},{seconds:.2}", rows.nrows(), rows.ncols());
    }
    Ok(())
}

fn export(rows: &Array2<f64>, answers: &Array1<bool>, folder: &Path) -> Result<()> {
    let write = |name: &str, model: &[u8], says: &Array1<f64>| -> Result<()> {
        std::fs::write(folder.join(format!("{name}.onnx")), model)?;
        write_npy(&folder.join(format!("{name}.npy")), says)
    };
    let tree = DecisionTreeParams { max_depth: 8, ..DecisionTreeParams::default() }.fit(rows, answers)?;
    write("tree", &tree.to_onnx(), &tree.probabilities(rows)?)?;
    let groups: Vec<usize> = (0..rows.nrows()).collect();
    let params = RandomForestParams { trees: 20, ..RandomForestParams::default() };
    let (forest, _) = params.fit(rows, answers, &vec![1.0; rows.nrows()], &groups)?;
    write("forest", &forest.to_onnx(), &forest.probabilities(rows)?)?;
    // No path of an exported isolation forest goes both ways.
    let known = rows.mapv(|value| if value.is_nan() { 0.0 } else { value });
    let isolation = IsolationForestParams::default().fit(&known)?;
    write("isolation", &isolation.to_onnx()?, &isolation.scores(&known)?)
}

/// The table and the answers of a set, whatever kind of number they are stored as.
fn read(path: &Path) -> Result<(Array2<f64>, Vec<bool>)> {
    let mut archive = zip::ZipArchive::new(File::open(path)?)?;
    let mut array = |name: &str| -> Result<(Vec<usize>, bool, Vec<f64>)> {
        let mut bytes = Vec::new();
        archive.by_name(name)?.read_to_end(&mut bytes)?;
        npy(&bytes)
    };
    let (answers, rows) = (array("y.npy")?.2, array("X.npy")?);
    Ok((table(rows)?, answers.iter().map(|answer| *answer > 0.5).collect()))
}

fn read_table(path: &str) -> Result<Array2<f64>> {
    table(npy(&std::fs::read(path)?)?)
}

fn read_answers(path: &str) -> Result<Array1<bool>> {
    Ok(npy(&std::fs::read(path)?)?.2.into_iter().map(|answer| answer > 0.5).collect())
}

fn table((shape, by_column, values): (Vec<usize>, bool, Vec<f64>)) -> Result<Array2<f64>> {
    let [rows, columns] = shape[..] else { return Err("not a table".into()) };
    Ok(if by_column {
        Array2::from_shape_vec((columns, rows), values)?.reversed_axes().as_standard_layout().into_owned()
    } else {
        Array2::from_shape_vec((rows, columns), values)?
    })
}

/// Shape, whether columns lie together, and values of an array in numpy's format (NEP 1), of little-endian numbers.
#[expect(clippy::cast_lossless, reason = "numbers of eight bytes have no other way")]
fn npy(bytes: &[u8]) -> Result<(Vec<usize>, bool, Vec<f64>)> {
    let length = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum * 256 + usize::from(*byte));
    let (header, values) = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, rest @ ..] => rest.split_at_checked(length(&[*a, *b])),
        [0x93, b'N', b'U', b'M', b'P', b'Y', _, _, a, b, c, d, rest @ ..] => {
            rest.split_at_checked(length(&[*a, *b, *c, *d]))
        }
        _ => None,
    }
    .ok_or("no array of numpy")?;
    let header = std::str::from_utf8(header)?;
    let after = |key: &str| {
        header.split_once(key).map(|(_, rest)| rest.trim_start_matches([':', ' ', '\''])).ok_or("no header")
    };
    let kind: String = after("descr'")?.chars().take_while(|&c| c != '\'').collect();
    let shape: String = after("shape'")?.chars().skip_while(|&c| c != '(').skip(1).take_while(|&c| c != ')').collect();
    let shape = shape
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    macro_rules! numbers {
        ($number:ty) => {
            values
                .chunks_exact(size_of::<$number>())
                .map(|bytes| Ok(<$number>::from_le_bytes(bytes.try_into()?) as f64))
                .collect()
        };
    }
    let values: Result<Vec<f64>> = match kind.as_str() {
        "<f8" => numbers!(f64),
        "<f4" => numbers!(f32),
        "<i8" => numbers!(i64),
        "<i4" => numbers!(i32),
        "<i2" => numbers!(i16),
        "|i1" => numbers!(i8),
        "|u1" | "|b1" => numbers!(u8),
        other => Err(format!("numbers of kind {other}").into()),
    };
    Ok((shape, after("fortran_order'")?.starts_with("True"), values?))
}

/// Writes an array of doubles in numpy's format.
fn write_npy(path: &Path, values: &Array1<f64>) -> Result<()> {
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({},), }}", values.len());
    header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len())?.to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(std::fs::write(path, bytes)?)
}
