package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rollout-lab/rollout-lab/drivers/docker"
	"github.com/rollout-lab/rollout-lab/drivers/drivertest"
)

const (
	// labEnv makes the test binary a lab that deploys one stack and waits to be killed.
	labEnv = "DOCKER_TEST_LAB"
	// programEnv is the program that it deploys.
	programEnv = "DOCKER_TEST_PROGRAM"
)

func runLab(runID string) error {
	stack := drivertest.NewStack()
	stack.RunID = runID
	d := docker.New(docker.Config{Program: os.Getenv(programEnv), Probe: []string{probeMark}})
	env, err := d.Deploy(context.Background(), stack)
	if err != nil {
		return err
	}
	fmt.Println(env.URL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, env.Close(context.Background()))
}
