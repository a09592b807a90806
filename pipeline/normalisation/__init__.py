"""From what a sensor saw to the published geometry and radiometry: sun, view, kernels, bandpass. Arrays only, nothing is read."""
