//! Tests of the model as its users see it: text in, objects or errors out.

mod example;
