"""What is said of a card's memory after the first step."""

from trainer.training.device_plan import forecast

GIB = 2**30


def test_what_grows_with_the_images_is_forecast_for_the_largest_batch() -> None:
    assert forecast(6 * GIB, 16 * GIB, 2 * GIB, batch=100, largest=200) == (
        "6.0 of 16.0 GiB after one step; the largest batch of this plan needs about 10.0"
    )


def test_a_largest_batch_that_does_not_fit_is_a_warning_with_what_to_lower() -> None:
    line = forecast(6 * GIB, 8 * GIB, 2 * GIB, batch=100, largest=200)
    assert line.startswith("warning: 6.0 of 8.0 GiB") and "needs about 10.0" in line and "batch_size" in line
