package load

// probeStarved has nothing to run out of on Windows.
func probeStarved() int { return 1 }
