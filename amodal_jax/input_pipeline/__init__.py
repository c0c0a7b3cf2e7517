"""From built records to batches, with tf.data; nothing else of the package imports TensorFlow."""
