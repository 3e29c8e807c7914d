package metric

// mostEarly is one minus the confidence of a look before the last one, where there are few.
const mostEarly = 0.001

// AlphaAt is one minus the confidence that a verdict takes after so many of at least least and at
// most most trials. Who looks after every trial, and stops as soon as the data please, is misled
// more often than who looks once. So a look before the last one has to be far surer than the
// last one (Haybittle, Repeated assessment of results in clinical trials, Brit. J. Radiol. 44,
// 1971; Peto and others, Brit. J. Cancer 34, 1976), and what all of them may spend together, by
// the union bound, is Alpha and no more, whatever the data are.
func AlphaAt(trials, least, most int) float64 {
	early := most - least // looks before the last one
	if early <= 0 {
		return Alpha
	}
	each := min(mostEarly, Alpha/2/float64(early))
	if trials < most {
		return each
	}
	return Alpha - each*float64(early)
}
