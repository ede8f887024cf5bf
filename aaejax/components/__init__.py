"""The parts that models are made of: pure functions of arrays, without I/O."""
