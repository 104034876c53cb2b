//! Models as ONNX, which other programs score with (`ai.onnx.ml` `TreeEnsembleRegressor`, operators of version 3).
//!
//! The input is a tensor `features` of doubles, rows x features; the output a tensor of floats, rows x 1: `probability` of trees and
//! random forests, `score` of isolation forests. Thresholds are doubles, so that every row goes the way it goes here; results differ by
//! the rounding of floats only. A missing value is `NaN`; to isolation forests it may not come, as ONNX knows no path that goes both
//! ways.

use prost::Message;

use crate::{DecisionTree, IsolationForest, LearnError, RandomForest};

const FLOAT: i32 = 1;
const DOUBLE: i32 = 11;
const IR_VERSION: i64 = 8;
const OPSET: i64 = 15;
const ML_OPSET: i64 = 3;

/// The nodes of trees, as the attributes of the operator list them.
#[derive(Default)]
pub(crate) struct Ensemble {
    trees: i64,
    tree_ids: Vec<i64>,
    node_ids: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<Vec<u8>>,
    thresholds: Vec<f64>,
    lefts: Vec<i64>,
    rights: Vec<i64>,
    missing_left: Vec<i64>,
    leaf_trees: Vec<i64>,
    leaf_nodes: Vec<i64>,
    leaf_values: Vec<f64>,
}

/// A node of a tree for [`Ensemble`].
pub(crate) enum EnsembleNode {
    Leaf(f64),
    Split { feature: u32, threshold: f64, left: u32, missing_left: bool },
}

impl Ensemble {
    pub(crate) fn add_tree(&mut self, nodes: impl Iterator<Item = EnsembleNode>) {
        for (id, node) in (0..).zip(nodes) {
            self.tree_ids.push(self.trees);
            self.node_ids.push(id);
            let (feature, mode, threshold, left, right, missing_left) = match node {
                EnsembleNode::Leaf(value) => {
                    self.leaf_trees.push(self.trees);
                    self.leaf_nodes.push(id);
                    self.leaf_values.push(value);
                    (0, "LEAF", 0.0, 0, 0, false)
                }
                EnsembleNode::Split { feature, threshold, left, missing_left } => {
                    let left = i64::from(left);
                    (i64::from(feature), "BRANCH_LEQ", threshold, left, left + 1, missing_left)
                }
            };
            self.features.push(feature);
            self.modes.push(mode.as_bytes().to_vec());
            self.thresholds.push(threshold);
            self.lefts.push(left);
            self.rights.push(right);
            self.missing_left.push(i64::from(missing_left));
        }
        self.trees += 1;
    }

    /// The operator, which gives the mean over the trees.
    fn operator(self, output: &str) -> Node {
        let leaves = self.leaf_values.len();
        let attributes = vec![
            Attribute::int("n_targets", 1),
            Attribute::string("aggregate_function", "SUM"),
            Attribute::string("post_transform", "NONE"),
            Attribute::ints("nodes_treeids", self.tree_ids),
            Attribute::ints("nodes_nodeids", self.node_ids),
            Attribute::ints("nodes_featureids", self.features),
            Attribute::strings("nodes_modes", self.modes),
            Attribute::doubles("nodes_values_as_tensor", self.thresholds),
            Attribute::ints("nodes_truenodeids", self.lefts),
            Attribute::ints("nodes_falsenodeids", self.rights),
            Attribute::ints("nodes_missing_value_tracks_true", self.missing_left),
            Attribute::ints("target_treeids", self.leaf_trees),
            Attribute::ints("target_nodeids", self.leaf_nodes),
            Attribute::ints("target_ids", vec![0; leaves]),
            Attribute::doubles(
                "target_weights_as_tensor",
                self.leaf_values.into_iter().map(|value| value / self.trees as f64).collect(),
            ),
        ];
        Node {
            input: vec!["features".to_owned()],
            output: vec![output.to_owned()],
            op_type: "TreeEnsembleRegressor".to_owned(),
            domain: "ai.onnx.ml".to_owned(),
            attribute: attributes,
        }
    }
}

impl DecisionTree {
    /// The tree as an ONNX model.
    pub fn to_onnx(&self) -> Vec<u8> {
        let mut ensemble = Ensemble::default();
        ensemble.add_tree(self.ensemble_nodes());
        model(self.features(), vec![ensemble.operator("probability")], Vec::new(), "probability")
    }
}

impl RandomForest {
    /// The forest as an ONNX model.
    pub fn to_onnx(&self) -> Vec<u8> {
        let mut ensemble = Ensemble::default();
        self.trees().iter().for_each(|tree| ensemble.add_tree(tree.ensemble_nodes()));
        model(self.features(), vec![ensemble.operator("probability")], Vec::new(), "probability")
    }
}

impl IsolationForest {
    /// The forest as an ONNX model.
    ///
    /// # Errors
    ///
    /// When it has slanted splits, which the operator does not know.
    pub fn to_onnx(&self) -> Result<Vec<u8>, LearnError> {
        let mut ensemble = Ensemble::default();
        for nodes in self.ensemble_trees()? {
            ensemble.add_tree(nodes.into_iter());
        }
        let operators = vec![
            ensemble.operator("length"),
            Node::plain("Mul", &["length", "scale"], "exponent"),
            Node::plain("Pow", &["two", "exponent"], "score"),
        ];
        let constants = vec![Tensor::scalar("scale", (-1.0 / self.unit()) as f32), Tensor::scalar("two", 2.0)];
        Ok(model(self.features(), operators, constants, "score"))
    }
}

fn model(features: usize, node: Vec<Node>, initializer: Vec<Tensor>, output: &str) -> Vec<u8> {
    let graph = Graph {
        node,
        name: "emberscope".to_owned(),
        initializer,
        input: vec![Value::table("features", DOUBLE, features)],
        output: vec![Value::table(output, FLOAT, 1)],
    };
    let opset = |domain: &str, version| OperatorSet { domain: domain.to_owned(), version };
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "emberscope".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![opset("", OPSET), opset("ai.onnx.ml", ML_OPSET)],
    };
    model.encode_to_vec()
}

// The messages of onnx.proto that are used, with its field numbers.

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
    #[prost(string, tag = "7")]
    domain: String,
}

impl Node {
    fn plain(operator: &str, inputs: &[&str], output: &str) -> Self {
        Self {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            op_type: operator.to_owned(),
            attribute: Vec::new(),
            domain: String::new(),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    s: Option<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    t: Option<Tensor>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    strings: Vec<Vec<u8>>,
    /// `AttributeType`: INT 2, STRING 3, TENSOR 4, INTS 7, STRINGS 8.
    #[prost(int32, tag = "20")]
    kind: i32,
}

impl Attribute {
    fn int(name: &str, value: i64) -> Self {
        Self { name: name.to_owned(), i: Some(value), kind: 2, ..Self::default() }
    }

    fn string(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), s: Some(value.as_bytes().to_vec()), kind: 3, ..Self::default() }
    }

    fn doubles(name: &str, values: Vec<f64>) -> Self {
        let tensor =
            Tensor { dims: vec![values.len() as i64], data_type: DOUBLE, double_data: values, ..Tensor::default() };
        Self { name: name.to_owned(), t: Some(tensor), kind: 4, ..Self::default() }
    }

    fn ints(name: &str, values: Vec<i64>) -> Self {
        Self { name: name.to_owned(), ints: values, kind: 7, ..Self::default() }
    }

    fn strings(name: &str, values: Vec<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), strings: values, kind: 8, ..Self::default() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(double, repeated, tag = "10")]
    double_data: Vec<f64>,
}

impl Tensor {
    fn scalar(name: &str, value: f32) -> Self {
        Self { name: name.to_owned(), data_type: FLOAT, float_data: vec![value], ..Self::default() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Type>,
}

impl Value {
    /// A table of any number of rows.
    fn table(name: &str, elem_type: i32, columns: usize) -> Self {
        let rows = Dimension { value: None, name: Some("rows".to_owned()) };
        let columns = Dimension { value: Some(columns as i64), name: None };
        let tensor = TensorType { elem_type, shape: Some(Shape { dim: vec![rows, columns] }) };
        Self { name: name.to_owned(), kind: Some(Type { tensor: Some(tensor) }) }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
}
