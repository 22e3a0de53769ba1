from pimjax.errors import ScheduleError


def place_packed(loads, max_open_tokens, num_slots):
    raise ScheduleError("the policy 'packed' is being written")
