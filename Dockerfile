# Agents in containers: docker build -t parse-p2p .
#   CUDA instead of the CPU:  --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
#   another torch:            --build-arg TORCH='torch>=2.6'
#   another base:             --build-arg BASE=… (with python3 >= 3.11, its venv, and the CAs that pip is to trust)
#   wheels at hand:           put them into wheels/: a torch among them is taken, others where no newer one is found
# Works with BuildKit and with the classic builder.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
# pip's own settings; nothing of this stage but the environment gets into the image
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# the version of scripts/constraints.txt; the index says which build of it
ARG TORCH=torch==2.13.0
ARG EXTRAS=lab
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_FIND_LINKS=/wheels PATH=/opt/parse/bin:$PATH
RUN python3 -m venv /opt/parse
# the glob matches nothing where there is no such folder
COPY pyproject.toml wheel[s]/* /wheels/
RUN torch=$(ls /wheels/torch-*.whl 2>/dev/null | head -1); \
    if [ -n "$torch" ]; then pip install --no-compile "$torch"; else pip install --no-compile --index-url "$TORCH_INDEX" "$TORCH"; fi
# dependencies first: a change of the source does not fetch them again
RUN python -c "import tomllib; print(*tomllib.load(open('/wheels/pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
    >/tmp/needs.txt && pip install --no-compile -r /tmp/needs.txt
COPY pyproject.toml README.md LICENSE /source/
COPY parse_p2p /source/parse_p2p
COPY topologies /source/topologies
COPY topologies /topologies
RUN pip install --no-compile "/source${EXTRAS:+[$EXTRAS]}"
# what only building and testing need goes; then one round, which shows that it works and compiles what a run imports
RUN cd /opt/parse/lib/python3*/site-packages \
    && rm -rf torch/include torch/bin/protoc* torch/bin/test_* && find . -type d -name tests -prune -exec rm -r {} + \
    && pip uninstall --yes --quiet pip \
    && parse-agent --topology /topologies/ring.yaml --rounds 1 --quiet --device cpu --out /tmp/run \
    && { [ "$EXTRAS" != lab ] || parse-lab report /tmp/run; }

FROM ${BASE}
RUN useradd --create-home --uid 1000 agent && mkdir -m 700 /keys && mkdir /runs && chown agent: /keys /runs
COPY --from=build /opt/parse /opt/parse
COPY topologies /topologies
ENV PATH=/opt/parse/bin:$PATH PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 MPLCONFIGDIR=/tmp COLUMNS=110
USER agent
WORKDIR /
# An agent is well while its log grows, with every round at least: within so many minutes. For containers that are named
# (hostname) as their agent and know their run's folder (RUN); others have no health: --no-healthcheck.
ENV HEALTHY_MINUTES=5
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=2 \
    CMD find /runs/${RUN:-*}/agents/"$HOSTNAME"/events.jsonl -mmin -"$HEALTHY_MINUTES" | grep -q .
ENTRYPOINT ["parse-agent"]
CMD ["--help"]
