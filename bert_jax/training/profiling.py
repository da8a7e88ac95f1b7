class Profile:
    pass
