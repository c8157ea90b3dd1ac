# passgate in an image with nothing else in it.
#
#   docker build -t passgate .
#   docker run -v ./config.toml:/etc/passgate/config.toml:ro -v passgate:/var/lib/passgate -p 8080:8080 passgate
FROM rust:1.95.0-bookworm AS build
WORKDIR /build
COPY . .
# The flag is for the program alone: build scripts and macros cannot be static. No `--target` is named, since that
# gives every function another name than the profile in pgo/ has for it. Names are resolved from /etc/hosts and
# /etc/resolv.conf by what is linked in; there is no nsswitch.conf in the image that could ask for modules.
RUN cargo rustc --release --locked --bin passgate -- -C target-feature=+crt-static \
    && mkdir -p /image/var/lib/passgate /image/etc/passgate /image/etc/ssl/certs /image/tmp \
    && cp target/release/passgate /image/passgate \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && chown -R 65532:65532 /image/var/lib/passgate

FROM scratch
COPY --from=build /image /
# A number: Kubernetes cannot tell of a name whether it is root.
USER 65532:65532
VOLUME /var/lib/passgate
EXPOSE 8080 9180
STOPSIGNAL SIGTERM
ENTRYPOINT ["/passgate"]
CMD ["run", "--config", "/etc/passgate/config.toml"]
HEALTHCHECK --interval=10s --timeout=6s --start-period=5m \
    CMD ["/passgate", "ready", "--config", "/etc/passgate/config.toml"]
