// Command target is the program that the conformance suite deploys.
package main

import "github.com/rollout-lab/rollout-lab/drivers/drivertest"

func main() { drivertest.TargetMain() }
