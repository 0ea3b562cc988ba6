"""TensorBoard's event files: what they hold, without `tensorboard` or `protobuf`."""
