package docker

import (
	"context"
	"errors"

	"github.com/cpuguy83/dockercfg"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	testcontainers "github.com/testcontainers/testcontainers-go"
)

// pull gets an image from its registry, with the credentials that the docker command has.
// It tries once: testcontainers itself would try for a quarter of an hour.
func pull(ctx context.Context, e *engine, name string) error {
	var options image.PullOptions
	_, auth, err := testcontainers.DockerImageAuth(ctx, name)
	if err == nil {
		if options.RegistryAuth, err = registry.EncodeAuthConfig(auth); err != nil {
			return err
		}
	} else if !errors.Is(err, dockercfg.ErrCredentialsNotFound) {
		return err
	}
	progress, err := e.client.ImagePull(ctx, name, options)
	if err != nil {
		return err
	}
	defer progress.Close()
	return readProgress(progress)
}
