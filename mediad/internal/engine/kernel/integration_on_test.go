//go:build integration

package kernel

const integration = true
