def available():
    return False


def interpreted():
    return False
