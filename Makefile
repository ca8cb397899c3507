# make demo   the whole workflow on generated pictures, to a table and a report (the first time it sets everything up)
# make demo-controls  the demo, if it is not done yet, and a control: stage 2 trained on one data set only
# make quick  the tests that need neither Jittor nor a data server, within a minute
# make test   the test suite, with short forms of everything slow
# make long   tests of half a minute and more that go deeper into what shorter tests cover
# make lint   style, formatting, who imports whom, types, the kernels' formatting
# make mutate draws MUTANTS small faults (with SEED), one at a time, and lists what the tests overlook: a night
# make fuzz   ITERATIONS wrong frames for every decoder, ROUNDS strangers for a running server
# make chaos  the long crash tests and a thousand kills
# make ranks  several ranks against one that accumulates, twenty kills of a rank
# make far    workers on a Ray node: kills of everybody there, a hundred thousand strangers, the tests of workers again
# make faults each write of every task and command fails or kills it: three of each kind (ALL=1: all), JOBS at a time
# make load   the server under load, and under a thousand wrong requests
# make pictures  draws the pictures of the web pages in docs/, after make demo
# make gpu-standin  what full-size training asks of a card, where there is none: memory, copies, waits (an hour the first
#             time)
# make gpu-check  on a machine with a card: its numbers against the CPU's, golden parity, memory over 300 steps, equal
#             runs, time and memory against PyTorch's; with PHOTOGRAPHS=FOLDER (images/, train.json) how long it waits
# make emulate  EMULATED random shapes for every CUDA kernel, run by the CPU and compared with its twin there
# make bench  full benchmarks        make docker-test  both images, built, run and broken
# make lock   pins anew what both images install: requirements.lock

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PATH := $(or $(PATH),/usr/local/bin:/usr/bin:/bin)
PYTHON ?= $(shell command -v python3)
VENV   := .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/.ready

.PHONY: demo demo-controls pictures load quick test long mutate fuzz chaos ranks far faults gpu-standin gpu-check emulate bench docker-test lock lint clean

demo: $(READY) data/demo/scenes.json
	$(RUN) -m trainer --recipe configs/demo/open_world.py
	@echo "the report is work_dirs/open_world/report.html; weights, curves and pictures of every step are beside it"
	@echo "to try your own pictures and words in a browser: $(RUN) -m trainer serve $(SERVED)"

# The detector that the recipe trains: stage 2 with the boxes of stage 1, for names of its training and others.
SERVED := --config configs/demo/detect_base.py --checkpoint work_dirs/open_world/stage_2/epoch_10.safetensors \
	--proposals-from configs/demo/cln.py work_dirs/open_world/stage_1/epoch_4.safetensors \
	--vocabulary data/demo/val_base.npy data/demo/val_never_seen.npy

# The pictures of the pages in docs/, of the demo's detector and data, in Debian's Chromium.
pictures: $(READY)
	$(RUN) -m tests.trainer.tasks.serve.pictures $(SERVED)
	$(RUN) -m tests.data_server.commands.browse.pictures --config configs/demo/cln.py

demo-controls: $(READY) data/demo/scenes.json
	$(RUN) -m trainer --recipe configs/demo/controls.py

# Everything that is not marked as needing Jittor, a data server or photographs, or as slow.
quick: $(READY)
	$(RUN) -m pytest -n 2 --dist loadfile -m 'not (slow or jittor or server or photos or docker or chaos or standin or long)'

# Half of the tests' time is waiting, for processes that start or were killed. So four files run at a time on two cores.
test: $(READY)
	$(RUN) -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations 20

long: $(READY)
	$(RUN) -m pytest -n 4 --dist loadfile -m long

MUTANTS ?= 300
SEED    ?= 1

mutate: $(READY)
	$(RUN) -m tests.mutation --count $(MUTANTS) --seed $(SEED)

ITERATIONS ?= 1000000
ROUNDS     ?= 1000

# Atheris, which is guided by coverage, does not exist for every Python; without it there is the other engine.
fuzz: $(READY)
	-$(VENV)/bin/pip install --quiet --only-binary atheris --editable '.[fuzz]'
	$(RUN) -m tests.fuzz --iterations $(ITERATIONS)
	FUZZ_ROUNDS=$(ROUNDS) $(RUN) -m pytest tests/fuzz/test_server.py

bench: $(READY)
	$(VENV)/bin/pip install --quiet --editable '.[data-server,trainer,dev,bench]'
	$(RUN) -m benchmarks.handover
	$(RUN) -m benchmarks.pipeline
	$(RUN) -m benchmarks.soak
	$(RUN) -m benchmarks.scaling
	$(RUN) -m benchmarks.step
	$(RUN) -m benchmarks.step --cold

load: $(READY)
	$(RUN) -m tests.trainer.tasks.serve.load $(SERVED)

chaos: export PATIENCE := 1
chaos: $(READY)
	$(RUN) -m pytest -m chaos tests/chaos tests/trainer/recipe/test_kills.py tests/trainer/test_long_training.py \
		--ignore tests/chaos/test_ranks.py --ignore tests/chaos/test_far.py
	$(RUN) -m tests.chaos.soak --kills 1000

ranks: export PATIENCE := 1
ranks: $(READY)
	$(RUN) -m pytest -m chaos tests/chaos/test_ranks.py

far: export FAR_KILLS ?= 200
far: export STRANGERS ?= 100000
far: $(READY)
	$(RUN) -m pytest -m 'chaos or not chaos' tests/chaos/test_far.py tests/data_server/far
	$(RUN) -m pytest --far tests/data_server/workers/test_worker.py tests/data_server/serving/test_blame.py \
		tests/data_server/serving/test_batches.py tests/data_server/serving/test_changed_data.py

JOBS ?= 1

faults: $(READY)
	$(RUN) -m tests.faults --jobs $(JOBS) $(if $(MOST),--most $(MOST)) $(if $(ALL),--all)

gpu-standin: $(READY)
	$(RUN) -m pytest -m standin tests/cuda_standin

gpu-check: $(READY)
	$(RUN) -m tests.gpu_check $(if $(PHOTOGRAPHS),--photographs $(PHOTOGRAPHS))

emulate: export EMULATED ?= 1000
emulate: $(READY)
	$(RUN) -m pytest -n 2 tests/trainer/models/ops/test_cuda_sources.py -k shapes_do_not_matter

docker-test: $(READY)
	$(RUN) -m pytest -m docker tests/docker
	docker images --filter 'reference=unidetector-test*' --format '{{.Size}} {{.Repository}}'

# For every Python that the project has, and whichever build of torch: without hashes, which builds for the CPU change.
lock: $(READY)
	$(VENV)/bin/pip install --quiet 'uv>=0.9,<1'
	$(VENV)/bin/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.10 --no-annotate \
		--extra data-server --extra far --extra trainer --extra mpi \
		--custom-compile-command 'make lock' --output-file requirements.lock

# xargs takes an empty list for nothing to do.
lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/mypy
	git ls-files '*.c' '*.cpp' '*.cu' '*.cuh' '*.h' | xargs --no-run-if-empty $(VENV)/bin/clang-format --dry-run --Werror

data/demo/scenes.json: $(READY)
	@echo "making the demo's pictures and annotations in data/demo: some seconds; Jittor compiles kernels from now on"
	@for stage in cln stage_2; do nice $(RUN) -m trainer prepare --config configs/demo/$$stage.py; done >$(VENV)/kernels.log 2>&1 &
	$(RUN) -m data_server scenes --out data/demo

# The trainer's packages first: Jittor compiles its core while pip fetches torch and MMDetection. The second command
# names everything, so that nothing upgrades numpy behind Jittor's back. Without --no-compile pip would spend a minute on
# bytecode of 18,000 files, of which Python makes what it imports.
$(READY): pyproject.toml
	@command -v g++ >/dev/null || { echo "g++ is needed to compile Jittor's kernels: apt install g++ python3-dev" >&2; exit 1; }
	@echo "setting up in $(VENV), once, in about 4 minutes on two quiet cores; silent unless it fails"
	@echo "setting up, 1 of 3: pip installs Jittor"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --no-compile --editable '.[trainer]'
	@echo "setting up, 2 of 3: pip installs MMDetection and torch, and Jittor compiles its core meanwhile"
	@$(RUN) -c "from trainer.device import describe; print(describe())" >$(VENV)/core.log 2>&1 & core=$$!; \
	$(VENV)/bin/pip install --quiet --no-compile --editable '.[data-server,trainer,dev]' || { kill $$core; exit 1; }; \
	echo "setting up, 3 of 3: waiting for Jittor's core"; \
	wait $$core || { cat $(VENV)/core.log >&2; exit 1; }
	@tail -n 1 $(VENV)/core.log
	@touch $@

clean:
	rm -rf $(VENV) data/demo work_dirs mutants faults.jsonl
