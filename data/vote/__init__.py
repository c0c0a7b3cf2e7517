"""Several annotations of the same images, compared and made one."""
